// Command columns finds lines of more than 120 columns in Go, Markdown, the Makefile and scripts. A linter for Go alone
// can't tell which lines lie in raw strings, and knows no other files. "make verify" runs it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cairn-backup/cairn/hack/tracked"
)

func main() {
	found, err := inRepository()
	if err != nil {
		fmt.Fprintln(os.Stderr, "columns:", err)
		os.Exit(1)
	}
	for _, line := range found {
		fmt.Println(line)
	}
	if len(found) > 0 {
		fmt.Fprintf(os.Stderr, "columns: %d lines have more than %d columns\n", len(found), limit)
		os.Exit(1)
	}
}

// inRepository lists the lines that are too long, of all files that Git knows or would add.
func inRepository() ([]string, error) {
	root, files, err := tracked.Files()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		for _, line := range tooLong(name, string(text)) {
			out = append(out, fmt.Sprintf("%s:%d", name, line))
		}
	}
	return out, nil
}
