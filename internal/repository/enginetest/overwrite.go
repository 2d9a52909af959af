package enginetest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

// tree is a directory whose entries are written by name.
type tree struct {
	*WithT
	t   testing.TB
	dir string
}

func newTree(t testing.TB) tree { return tree{NewWithT(t), t, t.TempDir()} }

func (r tree) path(name string) string { return filepath.Join(r.dir, name) }

// file writes a file whose modification time is hour hours after a fixed time.
func (r tree) file(name, content string, hour int) {
	r.t.Helper()
	r.Expect(os.MkdirAll(filepath.Dir(r.path(name)), 0o755)).To(Succeed())
	r.Expect(os.WriteFile(r.path(name), []byte(content), 0o644)).To(Succeed())
	r.Expect(os.Chmod(r.path(name), 0o644)).To(Succeed(), "whatever the umask")
	at := time.Date(2026, 7, 1, hour, 0, 0, 5, time.UTC)
	r.Expect(os.Chtimes(r.path(name), at, at)).To(Succeed())
}

// has expects exactly these files with their content. It ignores directories.
func (r tree) has(want map[string]string) {
	r.t.Helper()
	got := map[string]string{}
	r.Expect(filepath.WalkDir(r.dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(r.dir, p)
		if d.Type()&os.ModeSymlink != 0 {
			to, err := os.Readlink(p)
			got[rel] = "-> " + to
			return err
		}
		b, err := os.ReadFile(p)
		got[rel] = string(b)
		return err
	})).To(Succeed())
	r.Expect(got).To(Equal(want))
}

// snapshot backs up the tree and returns the snapshot's ID.
func (r tree) snapshot(e repository.Engine) string {
	r.t.Helper()
	s, err := e.Backup(r.t.Context(), repository.Source{Name: "data", Dir: r.dir}, repository.BackupOptions{})
	r.Expect(err).NotTo(HaveOccurred())
	return s.ID
}

// restore restores into the tree.
func (r tree) restore(e repository.Engine, id string, opt repository.RestoreOptions) repository.RestoreResult {
	r.t.Helper()
	res, err := e.Restore(r.t.Context(), id, r.dir, opt)
	r.Expect(err).NotTo(HaveOccurred())
	return res
}

func (c Config) newer(t *testing.T) {
	e, src, out := c.fresh(t), newTree(t), newTree(t)
	for _, name := range []string{"same", "older", "newer", "missing", "dir/newer"} {
		src.file(name, "backup", 5)
	}
	id := src.snapshot(e)
	out.file("same", "volume", 5)
	out.file("older", "volume", 4)
	out.file("newer", "volume", 6)
	out.file("dir/newer", "volume", 6)
	out.file("extra", "volume", 1)
	res := out.restore(e, id, repository.RestoreOptions{OnConflict: repository.ConflictNewer})
	out.has(map[string]string{
		"same": "volume", "older": "backup", "newer": "volume", "missing": "backup",
		"dir/newer": "volume", "extra": "volume",
	})
	out.Expect(res.Files).To(BeEquivalentTo(2))
	out.Expect(res.Overwritten).To(BeEquivalentTo(1))
	out.Expect(res.Skipped).To(BeEquivalentTo(3))
	out.Expect(res.Deleted).To(BeZero())
}

func (c Config) extra(t *testing.T) {
	e, src, out, away := c.fresh(t), newTree(t), newTree(t), newTree(t)
	src.file("a", "backup", 5)
	src.file("was a directory", "backup", 5)
	src.file("was a file/b", "backup", 5)
	id := src.snapshot(e)
	away.file("precious", "outside", 1)
	fill := func() {
		out.file("a", "volume", 6)
		out.file("extra/deep/file", "volume", 6)
		out.file("keep.log", "volume", 6)
		out.file("extra/keep.log", "volume", 6)
		out.file("was a directory/x", "volume", 6)
		out.file("was a file", "volume", 6)
		out.Expect(os.MkdirAll(out.path("lost+found"), 0o700)).To(Succeed())
		out.Expect(os.Symlink(away.dir, out.path("extra/link"))).To(Succeed())
	}
	fill()
	_, err := e.Restore(t.Context(), id, out.dir, repository.RestoreOptions{OnConflict: repository.ConflictReplace})
	out.Expect(err).To(MatchError(repository.ErrInTheWay), "a directory that is not empty is deleted only on request")
	out.Expect(out.path("was a directory/x")).To(BeAnExistingFile())

	res := out.restore(e, id, repository.RestoreOptions{
		OnConflict: repository.ConflictReplace, DeleteExtra: true,
		Exclude: []string{"*.log"},
	})
	out.has(map[string]string{
		"a": "backup", "was a directory": "backup", "was a file/b": "backup", "keep.log": "volume",
		"extra/keep.log": "volume",
	})
	out.Expect(out.path("lost+found")).To(BeADirectory())
	out.Expect(res.Deleted).To(BeEquivalentTo(5),
		"the directory in the way and x in it, the directory deep, its file, and the link")
	away.has(map[string]string{"precious": "outside"})
	out.restore(e, id, repository.RestoreOptions{OnConflict: repository.ConflictReplace, DeleteExtra: true})
	out.has(map[string]string{"a": "backup", "was a directory": "backup", "was a file/b": "backup"})
}

func (c Config) selection(t *testing.T) {
	e, src := c.fresh(t), newTree(t)
	for _, name := range []string{
		"a.txt", "b.md", "docs/c.txt", "docs/d.md", "docs/old/e.txt", "src/f.go",
		"deep/er/g.go",
	} {
		src.file(name, name, 1)
	}
	id := src.snapshot(e)
	for name, tc := range map[string]struct {
		include, exclude []string
		want             []string
	}{
		"a directory": {
			include: []string{"docs"},
			want:    []string{"docs/c.txt", "docs/d.md", "docs/old/e.txt"},
		},
		"a directory of the root": {include: []string{"/docs/old/"}, want: []string{"docs/old/e.txt"}},
		"a pattern at any depth":  {include: []string{"*.go"}, want: []string{"src/f.go", "deep/er/g.go"}},
		"several": {
			include: []string{"*.go", "b.md"},
			want:    []string{"src/f.go", "deep/er/g.go", "b.md"},
		},
		"exclude wins": {
			include: []string{"docs"}, exclude: []string{"old", "*.md"},
			want: []string{"docs/c.txt"},
		},
		"exclude alone": {exclude: []string{"docs", "*.go", "deep"}, want: []string{"a.txt", "b.md"}},
		"no match":      {include: []string{"nothing"}},
		"a blank pattern includes all": {
			include: []string{" "},
			want:    []string{"a.txt", "b.md", "docs/c.txt", "docs/d.md", "docs/old/e.txt", "src/f.go", "deep/er/g.go"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := newTree(t)
			out.restore(e, id, repository.RestoreOptions{Include: tc.include, Exclude: tc.exclude})
			want := map[string]string{}
			for _, n := range tc.want {
				want[n] = n
			}
			out.has(want)
			for _, dir := range []string{"src", "docs", "deep"} {
				if entries, err := os.ReadDir(out.path(dir)); err == nil {
					out.Expect(len(entries) > 0 || len(tc.include) == 0).
						To(BeTrue(), "%s is empty and should not exist", dir)
				}
			}
			got, err := e.Compare(t.Context(), id, out.dir,
				repository.RestoreOptions{Include: tc.include, Exclude: tc.exclude})
			out.Expect(err).NotTo(HaveOccurred())
			out.Expect(got.Different).To(BeZero())
			out.Expect(got.Files).To(BeEquivalentTo(len(tc.want)))
		})
	}
}

// resumed tests the continuation of a killed restore, which left half of the files and one that was not moved into
// place.
func (c Config) resumed(t *testing.T) {
	e, src, out := c.fresh(t), newTree(t), newTree(t)
	src.file("dir/a", "backup", 5)
	src.file("dir/b", "backup", 5)
	src.Expect(os.Link(src.path("dir/a"), src.path("dir/linked"))).To(Succeed())
	id := src.snapshot(e)
	out.file("dir/a", "half", 5)
	out.file("dir/"+repository.NewUnfinishedName(), "half", 5)
	var last repository.RestoreProgress
	res := out.restore(e, id, repository.RestoreOptions{
		OnConflict: repository.ConflictReplace,
		Progress:   func(p repository.RestoreProgress) { last = p },
	})
	out.has(map[string]string{"dir/a": "backup", "dir/b": "backup", "dir/linked": "backup"})
	out.Expect(res.Deleted).To(BeZero(), "the leftover was no file of the user")
	out.Expect(last).To(Equal(repository.RestoreProgress{FilesDone: 3, BytesDone: int64(2 * len("backup"))}))
	Same(t, src.dir, out.dir)
}

func (c Config) touched(t *testing.T) {
	e, src := c.fresh(t), newTree(t)
	src.file("dir/a", "backup", 5)
	src.file("b", "backup", 5)
	id := src.snapshot(e)
	for name, tt := range map[string]struct {
		opt  repository.RestoreOptions
		also func(out tree)
		want bool
	}{
		"patterns of nothing": {
			repository.RestoreOptions{OnConflict: repository.ConflictReplace, Include: []string{"/nosuch"}}, nil, false,
		},
		"patterns of nothing, extra entries deleted": {repository.RestoreOptions{
			OnConflict: repository.ConflictReplace, DeleteExtra: true, Include: []string{"/nosuch"},
		}, nil, false},
		"a file": {
			repository.RestoreOptions{OnConflict: repository.ConflictReplace, Include: []string{"/b"}}, nil, true,
		},
		"all, which is kept": {repository.RestoreOptions{OnConflict: repository.ConflictSkip}, nil, false},
		"an existing file": {
			repository.RestoreOptions{OnConflict: repository.ConflictFail, Include: []string{"/b"}}, nil, false,
		},
		"a file in the place of a directory": {
			repository.RestoreOptions{OnConflict: repository.ConflictSkip, Include: []string{"/dir/a"}},
			func(out tree) {
				out.Expect(os.RemoveAll(out.path("dir"))).To(Succeed())
				out.file("dir", "volume", 5)
			}, false,
		},
		"an extra file": {repository.RestoreOptions{
			OnConflict: repository.ConflictReplace, DeleteExtra: true, Include: []string{"/b", "/extra"},
		}, func(out tree) { out.file("extra", "volume", 5) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			out := newTree(t)
			out.file("dir/a", "volume", 5)
			out.file("b", "volume", 5)
			if tt.also != nil {
				tt.also(out)
			}
			res, _ := e.Restore(t.Context(), id, out.dir, tt.opt)
			out.Expect(res.Touched).To(Equal(tt.want))
		})
	}
}
