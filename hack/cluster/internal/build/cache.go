package build

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// unusedFor is how long a build of other sources stays in the cache after its
// last use. A build takes about half a gigabyte.
const unusedFor = 14 * 24 * time.Hour

// seed fills a new directory with hard links to the programs of the newest
// other build. The go command compares each with what it would make and
// replaces (never rewrites) those that differ.
func seed(dir string) error {
	if old, err := os.ReadDir(dir); err != nil || len(old) > 0 {
		return err
	}
	from := newest(filepath.Dir(dir))
	if from == "" || from == dir {
		return nil
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("take over programs of %s: %w", from, err)
	}
	for _, f := range files {
		if !f.Type().IsRegular() || slices.Contains(markers, f.Name()) {
			continue
		}
		if err := os.Link(filepath.Join(from, f.Name()), filepath.Join(dir, f.Name())); err != nil {
			return fmt.Errorf("take over a program: %w", err)
		}
	}
	return nil
}

// newest returns the directory below cache with the youngest marker, or "".
func newest(cache string) string {
	best, at := "", time.Time{}
	for dir, used := range uses(cache) {
		if used.After(at) {
			best, at = dir, used
		}
	}
	return best
}

// uses maps each marked build below cache to the time of its last use.
func uses(cache string) map[string]time.Time {
	found := map[string]time.Time{}
	for _, name := range markers {
		files, _ := filepath.Glob(filepath.Join(cache, "*", name)) // the pattern is well formed
		for _, m := range files {
			fi, err := os.Stat(m)
			if dir := filepath.Dir(m); err == nil && fi.ModTime().After(found[dir]) {
				found[dir] = fi.ModTime()
			}
		}
	}
	return found
}

// touch notes a use of the build in dir.
func touch(dir string, now time.Time) error {
	for _, name := range markers {
		if err := os.Chtimes(filepath.Join(dir, name), now, now); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("note the use of %s: %w", dir, err)
		}
	}
	return nil
}

// prune deletes builds next to keep that nobody used for a while. It touches
// nothing that carries no marker of ours.
func prune(cache, keep string, now time.Time) error {
	var errs []error
	for dir, used := range uses(cache) {
		if dir != keep && now.Sub(used) > unusedFor {
			errs = append(errs, os.RemoveAll(dir), remove(dir+".lock"))
		}
	}
	return errors.Join(errs...)
}
