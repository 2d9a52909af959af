package repository

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"
)

// patterns are a list in which the last match counts.
type patterns struct{ all []pattern }

// pattern is one pattern, cut at "**": its segments match one after the other, with any number of elements between.
type pattern struct {
	text     string
	segments [][]string
	anchored bool    // the first segment begins at the root of the tree, or of the container if there are mounts
	mounts   []Mount // that lead from the root of the container to the tree
	below    bool    // it ends with "**", and matches only what lies below
	dirOnly  bool
	negated  bool
	used     atomic.Bool
}

// parsePatterns returns nil for a list without patterns.
func parsePatterns(list []string, mounts []Mount) (*patterns, error) {
	var texts []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			texts = append(texts, s)
		}
	}
	if len(texts) == 0 {
		return nil, nil
	}
	out := &patterns{all: make([]pattern, len(texts))}
	for i, s := range texts {
		if err := out.all[i].parse(s, mounts); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maxElements limits the work for one entry.
const maxElements = 256

func (p *pattern) parse(s string, mounts []Mount) error {
	p.text = s
	rest, negated := strings.CutPrefix(s, "!")
	p.negated, p.anchored, p.dirOnly = negated, strings.HasPrefix(rest, "/"), strings.HasSuffix(rest, "/")
	if rest == "" {
		return fmt.Errorf("pattern %q names nothing", s)
	}
	elements := strings.Split(strings.Trim(path.Clean(rest), "/"), "/")
	if elements[0] == "" || elements[0] == "." { // the root: everything below it
		elements, p.dirOnly = []string{"**"}, false
	}
	if len(elements) > maxElements {
		return fmt.Errorf("pattern %q has more than %d elements", s, maxElements)
	}
	for i, e := range elements {
		if e == ".." {
			return fmt.Errorf("pattern %q leads out of the volume", s)
		}
		elements[i] = goGlob(e)
		if _, err := path.Match(elements[i], ""); err != nil {
			return fmt.Errorf("pattern %q is not valid: close each [ with a ], or write \\[ for the character", s)
		}
	}
	if p.anchored {
		p.mounts = mountsOf(elements, mounts)
	}
	p.cut(elements)
	return nil
}

// goGlob turns "[!" into "[^", which package path understands.
func goGlob(e string) string {
	if !strings.Contains(e, "[!") {
		return e
	}
	b := []byte(e)
	for i := 0; i < len(b)-1; i++ {
		switch {
		case b[i] == '\\':
			i++
		case b[i] == '[' && b[i+1] == '!':
			b[i+1] = '^'
		}
	}
	return string(b)
}

// cut splits the elements at "**".
func (p *pattern) cut(elements []string) {
	p.below = elements[len(elements)-1] == "**"
	if p.anchored && elements[0] == "**" {
		p.anchored, p.mounts = false, nil
	}
	var segment []string
	for _, e := range append(elements, "**") {
		if e != "**" {
			segment = append(segment, e)
		} else if len(segment) > 0 {
			p.segments = append(p.segments, segment)
			segment = nil
		}
	}
}

// mountsOf returns the mounts with whose paths the elements begin: the one with the longest path, as in a container,
// and all of them if wildcards stand for a part of it. No wildcard stands for the first element: "/*/x" is a path below
// the root of the tree.
func mountsOf(elements []string, mounts []Mount) []Mount {
	var found []Mount
	for _, m := range mounts {
		if at := splitPath(m.Path); len(at) > 0 && begins(elements, at) {
			found = append(found, m)
		}
	}
	for i, m := range found {
		n := len(splitPath(m.Path))
		longest := !slices.ContainsFunc(found, func(o Mount) bool { return len(splitPath(o.Path)) > n })
		if longest && !strings.ContainsAny(strings.Join(elements[:min(n, len(elements))], ""), "*?[") {
			return found[i : i+1]
		}
	}
	return found
}

// splitPath returns the elements of a path; the root has none.
func splitPath(p string) []string {
	if p = strings.Trim(path.Clean("/"+p), "/"); p != "" {
		return strings.Split(p, "/")
	}
	return nil
}

func begins(elements, at []string) bool {
	for i, name := range at {
		switch {
		case i == len(elements), i == 0 && !literal(elements[0], name):
			return false
		case elements[i] == "**":
			return true
		}
		if ok, err := path.Match(elements[i], name); !ok || err != nil {
			return false
		}
	}
	return true
}

// literal reports whether a pattern of one element stands for this name only.
func literal(element, name string) bool {
	return element == name || !strings.ContainsAny(element, "*?[") && strings.ReplaceAll(element, `\`, "") == name
}

// match reports whether the patterns choose the entry with these path elements. It notes every pattern that matches.
func (l *patterns) match(elements []string, dir bool) bool {
	if l == nil {
		return false
	}
	decided, chosen := false, false
	for i := len(l.all) - 1; i >= 0; i-- {
		p := &l.all[i]
		if decided && p.used.Load() || !p.matches(elements, dir) {
			continue
		}
		if !p.used.Load() {
			p.used.Store(true)
		}
		if !decided {
			decided, chosen = true, !p.negated
		}
	}
	return chosen
}

// matches reports whether the pattern matches the entry, or a directory that the entry lies in.
func (p *pattern) matches(elements []string, dir bool) bool {
	if len(p.mounts) == 0 {
		return p.matchesPath(elements, dir)
	}
	return slices.ContainsFunc(p.mounts, func(m Mount) bool {
		known, there := m.known(elements)
		return there && p.matchesPath(known, dir)
	})
}

func (p *pattern) matchesPath(elements []string, dir bool) bool {
	at := 0
	for i, segment := range p.segments {
		last := len(elements) - len(segment)
		if i == 0 && p.anchored {
			last = min(last, 0)
		}
		// The first place is the best one: what follows can lie anywhere behind it.
		for ; at <= last && !all(segment, elements[at:]); at++ {
		}
		if at > last {
			return false
		}
		at += len(segment)
	}
	if at < len(elements) {
		return true
	}
	return !p.below && (dir || !p.dirOnly)
}

// known returns the path under which users know an entry of the source, and whether there is one.
func (m Mount) known(elements []string) ([]string, bool) {
	for _, d := range splitPath(m.Dir) {
		if len(elements) == 0 || elements[0] != d {
			return nil, false
		}
		elements = elements[1:]
	}
	return append(splitPath(m.Path), elements...), true
}

// all reports whether the elements begin with what the segment matches.
func all(segment, elements []string) bool {
	for i, e := range segment {
		if ok, err := path.Match(e, elements[i]); !ok || err != nil {
			return false
		}
	}
	return true
}
