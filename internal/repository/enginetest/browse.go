package enginetest

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

func (c Config) compare(t *testing.T) {
	e, src := c.fresh(t), newTree(t)
	src.file("a", strings.Repeat("a", 300_000), 5)
	src.file("dir/b", "backup", 5)
	src.file("empty", "", 5)
	src.Expect(os.Symlink("a", src.path("link"))).To(Succeed())
	id := src.snapshot(e)
	for name, tc := range map[string]struct {
		change    func(tree)
		different int
	}{
		"nothing changed": {change: func(tree) {}},
		"a byte at the end": {
			change:    func(r tree) { r.file("a", strings.Repeat("a", 299_999)+"b", 5) },
			different: 1,
		},
		"a file is longer": {change: func(r tree) { r.file("dir/b", "backup!", 5) }, different: 1},
		"a file is gone": {
			change:    func(r tree) { r.Expect(os.Remove(r.path("empty"))).To(Succeed()) },
			different: 1,
		},
		"a directory is gone": {
			change:    func(r tree) { r.Expect(os.RemoveAll(r.path("dir"))).To(Succeed()) },
			different: 1,
		},
		"a file is a link":             {change: func(r tree) { r.swap("a", "dir/b") }, different: 1},
		"a link has another target":    {change: func(r tree) { r.swap("link", "b") }, different: 1},
		"more files are no difference": {change: func(r tree) { r.file("more", "x", 1) }},
	} {
		t.Run(name, func(t *testing.T) {
			out := newTree(t)
			out.restore(e, id, repository.RestoreOptions{})
			tc.change(out)
			got, err := e.Compare(t.Context(), id, out.dir, repository.RestoreOptions{})
			out.Expect(err).NotTo(HaveOccurred())
			out.Expect(got.Different).To(BeEquivalentTo(tc.different), fmt.Sprint(got.Problems))
			out.Expect(got.Unreadable).To(BeZero())
			if tc.different == 0 {
				out.Expect(got.Files).To(BeEquivalentTo(4))
			}
		})
	}
	_, err := e.Compare(t.Context(), id, src.path("nothing"), repository.RestoreOptions{})
	src.Expect(err).To(MatchError(repository.ErrTarget))
	_, err = e.Compare(t.Context(), unknownID, src.dir, repository.RestoreOptions{})
	src.Expect(err).To(MatchError(repository.ErrNotFound))
}

// compareKept checks that a comparison leaves out exactly what the restore kept. A kept file can have the time of a
// restored one.
func (c Config) compareKept(t *testing.T) {
	e, src, out := c.fresh(t), newTree(t), newTree(t)
	for _, name := range []string{"same", "newer", "older", "missing"} {
		src.file(name, "backup", 5)
	}
	id := src.snapshot(e)
	out.file("same", "volume", 5)
	out.file("newer", "volume", 6)
	out.file("older", "volume", 4)
	opt := repository.RestoreOptions{OnConflict: repository.ConflictNewer, Kept: new(repository.Kept)}
	out.Expect(out.restore(e, id, opt).Skipped).To(BeEquivalentTo(2))
	different := func() int64 {
		got, err := e.Compare(t.Context(), id, out.dir, opt)
		out.Expect(err).NotTo(HaveOccurred())
		out.Expect(got.Files + got.Different).To(BeEquivalentTo(2))
		return got.Different
	}
	out.Expect(different()).To(BeZero(), "the restore kept it")
	opt.Again = true
	got, err := e.Compare(t.Context(), id, out.dir, opt)
	out.Expect(err).NotTo(HaveOccurred())
	out.Expect([]int64{got.Files, got.Different, got.Doubtful}).To(Equal([]int64{2, 0, 1}),
		"an earlier restore can have written what has the time of the snapshot")
	opt.Again = false
	out.file("missing", "bac", 5)
	out.Expect(different()).To(BeEquivalentTo(1), "a torn file has the time of a kept one")
	out.file("missing", "backup", 5)
	out.file("older", "broken", 7)
	out.Expect(different()).To(BeEquivalentTo(1), "the restore wrote it, whatever its time is")
}

// swap replaces an entry by a symbolic link.
func (r tree) swap(name, to string) {
	r.Expect(os.Remove(r.path(name))).To(Succeed())
	r.Expect(os.Symlink(to, r.path(name))).To(Succeed())
}

func (c Config) browse(t *testing.T) {
	e, src := c.fresh(t), newTree(t)
	src.file("dir/b", "backup", 5)
	src.file("dir/name \xff", "odd", 5)
	src.file("empty", "", 5)
	src.Expect(os.Symlink("dir", src.path("link"))).To(Succeed())
	src.Expect(os.Chmod(src.path("dir"), 0o750)).To(Succeed())
	id := src.snapshot(e)
	list := func(path string) []string {
		t.Helper()
		entries, err := e.ReadDir(t.Context(), id, path)
		src.Expect(err).NotTo(HaveOccurred())
		var out []string
		for _, x := range entries {
			out = append(out, fmt.Sprintf("%s %s %d", x.Mode, x.Name, x.Size))
			src.Expect(x.Content).NotTo(BeEmpty())
			src.Expect(x.UID).To(BeEquivalentTo(os.Getuid()))
		}
		return out
	}
	src.Expect(list("")).To(ConsistOf("drwxr-x--- dir 0", "-rw-r--r-- empty 0", HavePrefix("Lrwxrwxrwx link ")))
	src.Expect(list("/dir/")).To(Equal([]string{"-rw-r--r-- b 6", "-rw-r--r-- name \xff 3"}))
	read := func(path string) (string, error) {
		var out bytes.Buffer
		err := e.ReadFile(t.Context(), id, path, &out)
		return out.String(), err
	}
	src.Expect(read("dir/b")).To(Equal("backup"))
	src.Expect(read("dir/name \xff")).To(Equal("odd"))
	src.Expect(read("empty")).To(BeEmpty())
	for _, path := range []string{"nothing", "dir/b/c", "link/b", "dir/nothing/c"} {
		missing := And(MatchError(repository.ErrNotFound), MatchError(ContainSubstring("no %q in the snapshot", path)))
		_, err := read(path)
		src.Expect(err).To(missing, path)
		_, err = e.ReadDir(t.Context(), id, path)
		src.Expect(err).To(missing, path)
	}
	for _, path := range []string{"dir", "link", ""} {
		_, err := read(path)
		src.Expect(err).To(MatchError(fmt.Sprintf("read: %q is not a file", path)))
	}
	for _, path := range []string{"dir/b", "link"} {
		_, err := e.ReadDir(t.Context(), id, path)
		src.Expect(err).To(MatchError(fmt.Sprintf("read: %q is not a directory", path)))
	}
	_, err := e.ReadDir(t.Context(), unknownID, "")
	src.Expect(err).To(MatchError(repository.ErrNotFound))
}

func (c Config) diff(t *testing.T) {
	e, src := c.fresh(t), newTree(t)
	src.file("same/deep/file", "same", 1)
	src.file("dir/changed", "before", 1)
	src.file("dir/removed", "before", 1)
	src.file("gone/a", "before", 1)
	src.file("mode", "same", 1)
	src.file("type", "before", 1)
	before := src.snapshot(e)
	src.file("dir/changed", "after!", 2)
	src.file("dir/added", "after", 2)
	src.file("new/b", "after", 2)
	src.Expect(os.Remove(src.path("dir/removed"))).To(Succeed())
	src.Expect(os.RemoveAll(src.path("gone"))).To(Succeed())
	src.Expect(os.Chmod(src.path("mode"), 0o600)).To(Succeed())
	src.swap("type", "mode")
	after := src.snapshot(e)
	diff := func(a, b string) []string {
		t.Helper()
		var out []string
		src.Expect(repository.Diff(t.Context(), e, a, b, func(d repository.Difference) error {
			out = append(out, string(d.Change)+" "+d.Path)
			return nil
		})).To(Succeed())
		return out
	}
	src.Expect(diff(before, after)).To(Equal([]string{
		"added dir/added", "changed dir/changed", "removed dir/removed", "removed gone", "removed gone/a",
		"attributes mode",
		"added new", "added new/b", "changed type",
	}))
	src.Expect(diff(after, before)).To(ContainElement("added gone/a"))
	src.Expect(diff(after, after)).To(BeEmpty())
	err := repository.Diff(t.Context(), e, before, unknownID, func(repository.Difference) error { return nil })
	src.Expect(err).To(MatchError(repository.ErrNotFound))
}
