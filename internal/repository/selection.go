package repository

import (
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// Selection chooses entries of a tree by patterns as in a .gitignore. The zero value chooses all.
type Selection struct {
	include, exclude gitignore.Matcher
}

// NewSelection chooses what matches a pattern of include, or lies in a directory that does, and matches no pattern of
// exclude. An empty include means all. A name that is not UTF-8 is compared byte by byte.
func NewSelection(include, exclude []string) Selection {
	return Selection{include: matcher(include), exclude: matcher(exclude)}
}

func matcher(patterns []string) gitignore.Matcher {
	var parsed []gitignore.Pattern
	for _, p := range patterns {
		if strings.TrimSpace(p) != "" {
			parsed = append(parsed, gitignore.ParsePattern(p, nil))
		}
	}
	if len(parsed) == 0 {
		return nil
	}
	return gitignore.NewMatcher(parsed)
}

// all reports whether everything is chosen.
func (s Selection) all() bool { return s.include == nil && s.exclude == nil }

// Root reports whether the root of the tree is chosen, and with it everything that is not excluded.
func (s Selection) Root() bool { return s.include == nil }

// Takes reports whether the entry at path is chosen, and whether to enter it: a directory that is not chosen can
// contain chosen entries. taken reports whether the directory of the entry is chosen.
func (s Selection) Takes(path string, dir, taken bool) (selected, enter bool) {
	if s.all() {
		return true, dir
	}
	elements := strings.Split(path, "/")
	if s.exclude != nil && s.exclude.Match(elements, dir) {
		return false, false
	}
	if taken || s.include == nil || s.include.Match(elements, dir) {
		return true, dir
	}
	return false, dir
}
