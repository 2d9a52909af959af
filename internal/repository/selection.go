package repository

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Mount says under which path a directory of a source is known to users: where a container mounts it.
type Mount struct {
	// Path in the container, absolute.
	Path string
	// Dir is the directory below the source. Empty means the source itself.
	Dir string `json:",omitempty"`
}

// In returns the mount for a source that is the directory dir of this one. It reports whether anything of it is there.
func (m Mount) In(dir string) (Mount, bool) {
	at, below := splitPath(m.Dir), splitPath(dir)
	for len(at) > 0 && len(below) > 0 && at[0] == below[0] {
		at, below = at[1:], below[1:]
	}
	return Mount{Path: path.Join("/", m.Path, path.Join(below...)), Dir: path.Join(at...)},
		len(at) == 0 || len(below) == 0
}

// MountsIn returns the mounts for a source that is the directory dir of this one.
func MountsIn(mounts []Mount, dir string) []Mount {
	var out []Mount
	for _, m := range mounts {
		if m, there := m.In(dir); there {
			out = append(out, m)
		}
	}
	return out
}

// Selection chooses entries of a tree by patterns. The zero value chooses all. It is safe for concurrent use.
//
// A pattern that begins with a slash names one place: below a Mount if it begins with the path of one (the longest
// counts), else below the root of the tree. Any other pattern matches anywhere, as a run of path elements. What matches
// takes everything below it. "*", "?" and "[...]" stand for characters of one element, and "**" for any number of
// elements. A pattern that ends with a slash matches only directories. A pattern that begins with "!" takes back what
// an earlier pattern matched, but not below a directory that is excluded. Names are compared byte by byte.
type Selection struct {
	include, exclude *patterns
}

// NewSelection chooses what matches a pattern of include, and matches no pattern of exclude. An empty include means
// all. It fails if CheckPatterns does.
func NewSelection(include, exclude []string, mounts ...Mount) (Selection, error) {
	in, err := parsePatterns(include, mounts)
	if err != nil {
		return Selection{}, fmt.Errorf("include: %w", err)
	}
	out, err := parsePatterns(exclude, mounts)
	if err != nil {
		return Selection{}, fmt.Errorf("exclude: %w", err)
	}
	return Selection{include: in, exclude: out}, nil
}

// Root reports whether the root of the tree is chosen, and with it everything that is not excluded.
func (s Selection) Root() bool {
	return s.include == nil
}

// Takes reports whether the entry at a path below the root is chosen, and whether to enter it: a directory that is not
// chosen can contain chosen entries.
func (s Selection) Takes(name string, dir bool) (selected, enter bool) {
	if s.include == nil && s.exclude == nil {
		return true, dir
	}
	elements := strings.Split(name, "/")
	if s.exclude.match(elements, dir) {
		return false, false
	}
	return s.include == nil || s.include.match(elements, dir), dir
}

// Excludes reports whether a pattern of exclude matches the entry or a directory that it lies in.
func (s Selection) Excludes(name string, dir bool) bool {
	return s.exclude != nil && s.exclude.match(strings.Split(name, "/"), dir)
}

// Unmatched returns the patterns that have matched nothing so far, those of include first.
func (s Selection) Unmatched() []string {
	var out []string
	for _, list := range []*patterns{s.include, s.exclude} {
		if list == nil {
			continue
		}
		for i := range list.all {
			if p := &list.all[i]; !p.used.Load() && !slices.Contains(out, p.text) {
				out = append(out, p.text)
			}
		}
	}
	return out
}

// CheckPatterns returns why a pattern means nothing, nil if all of them are patterns. Blank ones are left out.
func CheckPatterns(list []string) error {
	_, err := parsePatterns(list, nil)
	return err
}
