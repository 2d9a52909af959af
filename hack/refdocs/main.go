// Command refdocs writes the generated part of docs/reference: the API from the CRDs, the Addons from the catalog, the
// command line from --help, the errors from running "cairn validate" on bad input, and the comparison with KubeStash.
// The same input always gives the same files, so a difference from the committed files means that somebody forgot to
// run refdocs.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// pages maps the name of each generated file to the function that writes it.
var pages = map[string]func() ([]byte, error){
	"api.md":       apiPage,
	"addons.md":    addonsPage,
	"cli.md":       cliPage,
	"errors.md":    errorsPage,
	"kubestash.md": kubestashPage,
}

func main() {
	out := flag.String("out", filepath.Join("docs", "reference"), "directory that the pages are written to")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "refdocs:", err)
		os.Exit(1)
	}
}

// run writes every page into dir.
func run(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, page := range pages {
		text, err := page()
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
