package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/licensecheck"
	"golang.org/x/mod/module"
)

// unknown is the word of SPDX for what nobody has looked at.
const unknown = "NOASSERTION"

// inModuleCache returns a function that says under which licence a module is. It reads the files of the module where
// the build has put them.
func inModuleCache() (func(path, version string) string, error) {
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return nil, fmt.Errorf("ask go where its modules are: %w", err)
	}
	root := strings.TrimSpace(string(cache))
	return func(path, version string) string {
		p, err := module.EscapePath(path)
		if err != nil {
			return unknown
		}
		v, err := module.EscapeVersion(version)
		if err != nil {
			return unknown
		}
		return licenceIn(filepath.Join(root, p+"@"+v))
	}, nil
}

// sure is how much of a file a licence must be, in percent. Less is a file that says something besides.
const sure = 75

// licenceIn returns the licences that the files in a directory are, or unknown.
func licenceIn(dir string) string {
	var ids []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		isText := slices.Contains([]string{"", ".MD", ".TXT"}, filepath.Ext(name)) // some packages have a license.go
		if !e.Type().IsRegular() || !isText ||
			!strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		found := licensecheck.Scan(text)
		if found.Percent < sure {
			return unknown
		}
		for _, m := range found.Match {
			ids = append(ids, m.ID)
		}
	}
	if slices.Sort(ids); len(ids) == 0 {
		return unknown
	}
	return strings.Join(slices.Compact(ids), " AND ")
}
