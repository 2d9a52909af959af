package enginetest

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

// leftOut tests that DeleteExtra keeps what the backup left out.
func (c Config) leftOut(t *testing.T) {
	e, src, out := c.fresh(t), newTree(t), newTree(t)
	for _, name := range []string{"a", "cache/x", "dir/b", "dir/tmp/y", "z.log"} {
		src.file(name, "backup", 5)
	}
	s, err := e.Backup(t.Context(), repository.Source{Name: "data", Dir: src.dir},
		repository.BackupOptions{Exclude: []string{"/cache", "dir/tmp", "*.log", "!keep.log"}})
	src.Expect(err).NotTo(HaveOccurred())
	src.Expect(s.Unmatched).To(Equal([]string{"!keep.log"}))

	fill := func() {
		for _, name := range []string{"cache/x", "dir/tmp/y", "z.log", "new/z.log"} {
			out.file(name, "volume", 6)
		}
		for _, name := range []string{"extra", "keep.log", "new/file", "dir/extra"} {
			out.file(name, "volume", 6)
		}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(out.dir, "s"))
		out.Expect(err).NotTo(HaveOccurred())
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		out.Expect(l.Close()).To(Succeed())
	}
	fill()
	res := out.restore(e, s.ID, repository.RestoreOptions{
		OnConflict: repository.ConflictReplace, DeleteExtra: true,
	})
	out.Expect(filepath.Join(out.dir, "s")).To(BeAnExistingFile(), "no backup holds a socket")
	out.Expect(os.Remove(filepath.Join(out.dir, "s"))).To(Succeed())
	out.has(map[string]string{
		"a": "backup", "dir/b": "backup",
		"cache/x": "volume", "dir/tmp/y": "volume", "z.log": "volume", "new/z.log": "volume",
	})
	out.Expect(res.Deleted).To(BeEquivalentTo(4))
	out.Expect(res.ExtraKept).To(BeZero(), "what the user excluded is no extra entry")

	t.Run("an include that means nothing in the snapshot", func(t *testing.T) {
		out := newTree(t)
		out.file("uploads/precious", "volume", 6)
		out.file("a", "volume", 6)
		res := out.restore(e, s.ID, repository.RestoreOptions{
			Include: []string{"/uploads"}, OnConflict: repository.ConflictReplace, DeleteExtra: true,
		})
		out.has(map[string]string{"uploads/precious": "volume", "a": "volume"})
		out.Expect(res.Unmatched).To(Equal([]string{"/uploads"}))
	})
	t.Run("a part", func(t *testing.T) {
		out := newTree(t)
		out.file("tmp/y", "volume", 6)
		out.file("extra", "volume", 6)
		out.restore(e, s.ID, repository.RestoreOptions{
			Path: "dir", OnConflict: repository.ConflictReplace, DeleteExtra: true,
		})
		out.has(map[string]string{"b": "backup", "tmp/y": "volume"})
	})
}

// names tests that absolute patterns mean the paths in a container.
func (c Config) names(t *testing.T) {
	e, src := c.fresh(t), newTree(t)
	for _, name := range []string{"lost+found/x", "cache/tmp/a", "deep/cache/tmp/b", "keep/c", "other/d"} {
		src.file(name, name, 5)
	}
	opt := repository.BackupOptions{
		Exclude: []string{"/source/data/lost+found", "cache/tmp", "/source/data/never"},
		Mounts:  []repository.Mount{{Path: "/source/data"}},
	}
	s, err := e.Backup(t.Context(), repository.Source{Name: "data", Dir: src.dir}, opt)
	src.Expect(err).NotTo(HaveOccurred())
	src.Expect(s.Unmatched).To(Equal([]string{"/source/data/never"}))
	all, err := e.List(t.Context(), "data")
	src.Expect(err).NotTo(HaveOccurred())
	src.Expect(all[0].Unmatched).To(Equal(s.Unmatched), "the snapshot keeps them")
	out := newTree(t)
	out.restore(e, s.ID, repository.RestoreOptions{})
	out.has(map[string]string{"keep/c": "keep/c", "other/d": "other/d"})

	for name, tc := range map[string]struct {
		opt       repository.RestoreOptions
		unmatched []string
		want      map[string]string
	}{
		"the path at the time of the backup": {
			opt:  repository.RestoreOptions{Include: []string{"/source/data/keep"}},
			want: map[string]string{"keep/c": "keep/c"},
		},
		"the path in the target": {
			opt: repository.RestoreOptions{
				Exclude: []string{"/srv/keep"}, Mounts: []repository.Mount{{Path: "/srv"}},
			},
			want: map[string]string{"other/d": "other/d"},
		},
		"a part": {
			opt:  repository.RestoreOptions{Path: "keep", Include: []string{"/source/data/keep/c"}},
			want: map[string]string{"c": "keep/c"},
		},
		"another path": {
			opt:       repository.RestoreOptions{Include: []string{"/other/data/keep"}, Exclude: []string{"x"}},
			unmatched: []string{"/other/data/keep", "x"}, want: map[string]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := newTree(t)
			res := out.restore(e, s.ID, tc.opt)
			out.has(tc.want)
			out.Expect(res.Unmatched).To(Equal(tc.unmatched))
		})
	}
	for _, bad := range []repository.RestoreOptions{{Include: []string{"["}}, {Exclude: []string{"["}}} {
		_, err = e.Restore(t.Context(), s.ID, newTree(t).dir, bad)
		src.Expect(err).To(MatchError(ContainSubstring(`pattern "[" is not valid`)))
	}
	opt.Exclude = []string{"["}
	_, err = e.Backup(t.Context(), repository.Source{Name: "data", Dir: src.dir}, opt)
	src.Expect(err).To(MatchError(ContainSubstring(`pattern "[" is not valid`)))
}
