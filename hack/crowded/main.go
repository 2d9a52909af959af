// Command crowded finds packages with too many source files: a package is a room that a reader can look over. "make
// verify" runs it.
package main

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/hack/tracked"
)

const limit = 18

// larger are the API, which has a file for each kind, and the drivers of Git and kopia, which each hide one large thing
// behind a small door.
var larger = regexp.MustCompile(`^(api/v1alpha1|internal/gitstore|internal/repository/kopia)$`)

func main() {
	_, files, err := tracked.Files()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crowded:", err)
		os.Exit(1)
	}
	if len(files) == 0 {
		fmt.Fprintln(os.Stderr, "crowded: the repository has no file")
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
