package repository_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

// TestPatterns pins what a pattern means, to users of restic and to users of .gitignore files.
func TestPatterns(t *testing.T) {
	t.Parallel()
	mounts := []repository.Mount{
		{Path: "/source/data"},
		{Path: "/source/data/uploads", Dir: "files"},
		{Path: "/second", Dir: "sub/dir"},
	}
	for pattern, want := range map[string]struct{ yes, no string }{
		// Relative: anywhere, as a run of elements, with everything below.
		"cache":       {"cache cache/ cache/x a/cache a/cache/x", "cached a/xcache"},
		"cache/tmp":   {"cache/tmp a/cache/tmp/x b/c/cache/tmp", "cache tmp cache/x/tmp a/cache"},
		"*.log":       {"a.log b/c.log d.log/x", "log a.logs"},
		"a/*/c":       {"a/b/c x/a/b/c/d", "a/c a/b/b/c"},
		"foo/**/bar":  {"foo/bar foo/x/bar foo/x/y/bar z/foo/x/bar/d", "foo bar foo/x"},
		"**/bar":      {"bar x/bar x/y/bar/z", "foo"},
		"foo/**":      {"foo/x foo/x/y z/foo/x", "foo z/foo"},
		"[ab]?":       {"ax by/c x/az", "cx a"},
		"[!a]x":       {"bx", "ax"},
		`\[x]`:        {"[x]", "x"},
		"./cache":     {"cache a/cache", "x"},
		"a//b":        {"a/b", "a"},
		"\xff*":       {"\xff \xffx", "\xfe"},
		"lost+found/": {"lost+found/ lost+found/x a/lost+found/", "lost+found"},
		// Absolute: below the root of the volume, or below a mount path.
		"/cache":                          {"cache cache/x", "a/cache"},
		"/cache/":                         {"cache/ cache/x", "cache a/cache/"},
		"/*/cache":                        {"x/cache x/cache/y", "cache x/y/cache"},
		"/a/**/b":                         {"a/b a/x/b a/x/y/b/c", "b x/a/b"},
		"/source/data/lost+found":         {"lost+found lost+found/x", "a/lost+found source/data/lost+found"},
		"/source/data":                    {"a a/b", ""},
		"/source/*/cache":                 {"cache cache/x", "a/cache source/x/cache"},
		"/source/**/cache":                {"cache a/b/cache", "x"},
		"/source":                         {"source source/x", "data a"},
		"/source/other/x":                 {"source/other/x", "x other/x"},
		"/source/data/uploads/tmp":        {"files/tmp files/tmp/x", "uploads/tmp tmp files"},
		"/second/x":                       {"sub/dir/x sub/dir/x/y", "x sub/x second/x"},
		"/":                               {"a a/b", ""},
		".":                               {"a a/b", ""},
		"/" + strings.Repeat("a/", 3):     {"a/a/a/ a/a/a/b", "a/a/a a/a"},
		"*" + strings.Repeat("a*", 30):    {strings.Repeat("a", 30), strings.Repeat("a", 29)},
		"a/**/" + strings.Repeat("x/", 3): {"a/x/x/x/ a/b/x/x/x/y a/x/b/x/x/x/y", "a/x/x/b"},
	} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s, err := repository.NewSelection(nil, []string{pattern}, mounts...)
			g.Expect(err).NotTo(HaveOccurred())
			for _, name := range strings.Fields(want.no) {
				path, dir := strings.CutSuffix(name, "/")
				g.Expect(s.Excludes(path, dir)).To(BeFalse(), name)
			}
			g.Expect(s.Unmatched()).To(Equal([]string{pattern}))
			for _, name := range strings.Fields(want.yes) {
				path, dir := strings.CutSuffix(name, "/")
				g.Expect(s.Excludes(path, dir)).To(BeTrue(), name)
			}
			g.Expect(s.Unmatched()).To(BeEmpty())
		})
	}
}

// TestSelection pins how patterns work together.
func TestSelection(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		include, exclude []string
		yes, no          string
	}{
		"the last match counts": {
			exclude: []string{"*.log", "!keep.log"}, yes: "keep.log a/keep.log x", no: "a.log a/b.log",
		},
		"a directory takes back what lies below it": {
			exclude: []string{"*.log", "!keep"}, yes: "keep/a.log", no: "a.log",
		},
		"an include takes back": {
			include: []string{"docs", "!docs/tmp"}, yes: "docs docs/a", no: "docs/tmp docs/tmp/x a",
		},
		"exclude wins": {include: []string{"docs"}, exclude: []string{"old"}, yes: "docs/a", no: "docs/old/x"},
		"blank":        {include: []string{" "}, exclude: []string{"", "\t"}, yes: "a b/c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s, err := repository.NewSelection(tc.include, tc.exclude)
			g.Expect(err).NotTo(HaveOccurred())
			for _, path := range strings.Fields(tc.yes) {
				selected, _ := s.Takes(path, false)
				g.Expect(selected).To(BeTrue(), path)
			}
			for _, path := range strings.Fields(tc.no) {
				selected, _ := s.Takes(path, false)
				g.Expect(selected).To(BeFalse(), path)
			}
		})
	}
	g := NewWithT(t)
	s, err := repository.NewSelection([]string{"a"}, []string{"b", "b*", "never"})
	g.Expect(err).NotTo(HaveOccurred())
	s.Takes("b", false)
	g.Expect(s.Unmatched()).To(Equal([]string{"a", "never"}), "a pattern counts that a later one covers")
}

// TestPatternsThatMeanNothing checks that they are named.
func TestPatternsThatMeanNothing(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"[", "a/[b", "[]", `a\`, "!", "../x", "a/../../x", "[a-", strings.Repeat("a/", 300)} {
		NewWithT(t).Expect(repository.CheckPatterns([]string{"ok", bad})).
			To(MatchError(ContainSubstring("pattern")), bad)
	}
	NewWithT(t).Expect(repository.CheckPatterns([]string{"ok", "", "a/../b", "{a}"})).To(Succeed())
}

// TestMountsOfADirectory pins how a directory of a volume is known.
func TestMountsOfADirectory(t *testing.T) {
	t.Parallel()
	mounts := []repository.Mount{{Path: "/var/www"}, {Path: "/srv", Dir: "a/b"}, {Path: "/opt", Dir: "c"}}
	NewWithT(t).Expect(repository.MountsIn(mounts, "a")).To(Equal([]repository.Mount{
		{Path: "/var/www/a"}, {Path: "/srv", Dir: "b"},
	}))
	NewWithT(t).Expect(repository.MountsIn(mounts, "a/b/c")).To(Equal([]repository.Mount{
		{Path: "/var/www/a/b/c"}, {Path: "/srv/c"},
	}))
	NewWithT(t).Expect(repository.MountsIn(mounts, "")).To(Equal(mounts))
}
