// Command crowded finds packages with too many source files: a package is a room that a reader can look over. "make
// verify" runs it.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

const limit = 18

// larger are the API, which has a file for each kind, and the drivers of Git and kopia, which each hide one large thing
// behind a small door.
var larger = regexp.MustCompile(`^(api/v1alpha1|internal/gitstore|internal/repository/kopia)$`)

func main() {
	files, err := inRepository()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crowded:", err)
		os.Exit(1)
	}
	if len(files) == 0 {
		fmt.Fprintln(os.Stderr, "crowded: Git knows no file here: run it in the root of the repository")
		os.Exit(1)
	}
	found := crowded(files)
	for _, dir := range found {
		fmt.Println(dir)
	}
	if len(found) > 0 {
		fmt.Fprintf(os.Stderr, "crowded: %d packages have more than %d source files\n", len(found), limit)
		os.Exit(1)
	}
}

// inRepository lists the files that Git knows or would add, without those that are removed and not committed yet.
func inRepository() ([]string, error) {
	names, err := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return nil, fmt.Errorf("list the files: %w", err)
	}
	var out []string
	for name := range strings.Lines(string(names)) {
		name = strings.TrimSpace(name)
		if _, err := os.Lstat(name); err == nil {
			out = append(out, name)
		}
	}
	return out, nil
}

// crowded returns the directories that have more source files than the limit, sorted. Tests do not count.
func crowded(files []string) []string {
	count := map[string]int{}
	for _, file := range files {
		if dir := path.Dir(file); path.Ext(file) == ".go" && !strings.HasSuffix(file, "_test.go") &&
			!larger.MatchString(dir) {
			count[dir]++
		}
	}
	var out []string
	for dir, n := range count {
		if n > limit {
			out = append(out, fmt.Sprintf("%s has %d", dir, n))
		}
	}
	slices.Sort(out)
	return out
}
