package kopia_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kopia/kopia/snapshot"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestARestoreWithoutRootIntoReadOnlyDirectories restores directories again that forbid it to their user, such as those
// of a cache of Go modules.
func TestARestoreWithoutRootIntoReadOnlyDirectories(t *testing.T) {
	if os.Getuid() == 0 {
		runAsNobody(t)
		return
	}
	g, src := NewWithT(t), t.TempDir()
	modes := map[string]os.FileMode{"read": 0o555, "neither": 0o311, "closed": 0o400}
	chmod := func(dir string, mode func(os.FileMode) os.FileMode) {
		for name, m := range modes {
			_ = os.Chmod(filepath.Join(dir, name), mode(m))
		}
	}
	open := func(os.FileMode) os.FileMode { return 0o755 }
	for name := range modes {
		g.Expect(os.Mkdir(filepath.Join(src, name), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(src, name, "x.go"), []byte("x"), 0o444)).To(Succeed())
	}
	g.Expect(os.WriteFile(filepath.Join(src, "zz"), nil, 0o644)).To(Succeed())
	k := &killer{}
	e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, k.step), initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	id := kopia.WithEntries(t, e, s.ID, func(entries []*snapshot.DirEntry) { // a backup as root can read them
		for _, x := range entries {
			if mode, ok := modes[x.Name]; ok {
				x.Permissions = snapshot.Permissions(mode)
			}
		}
	})
	killed := true
	for n := 1; killed; n++ {
		out := t.TempDir()
		killed = k.restore(t, e, id, out, repository.ConflictFail, n)
		for range 2 {
			opt := restoring(repository.ConflictReplace)
			opt.DeleteExtra = true
			_, err = e.Restore(t.Context(), id, out, opt)
			g.Expect(err).NotTo(HaveOccurred(), "killed after %d changes", n)
			for name, want := range modes {
				info, err := os.Stat(filepath.Join(out, name))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(info.Mode().Perm()).To(Equal(want), "%s, killed after %d changes", name, n)
			}
		}
		chmod(out, open)
		g.Expect(os.ReadFile(filepath.Join(out, "closed/x.go"))).To(BeEquivalentTo("x"))
		extra := filepath.Join(out, "extra")
		g.Expect(os.CopyFS(extra, os.DirFS(src))).To(Succeed())
		chmod(extra, func(m os.FileMode) os.FileMode { return m })
		opt := restoring(repository.ConflictReplace)
		opt.DeleteExtra = true
		_, err = e.Restore(t.Context(), id, out, opt)
		chmod(extra, open)
		chmod(out, open)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(extra).NotTo(BeADirectory())
	}
}

// TestARestoreWithoutRootLeavesReadOnlyDirectoriesAsTheyWere restores entries of directories that do not get the
// attributes of the snapshot.
func TestARestoreWithoutRootLeavesReadOnlyDirectoriesAsTheyWere(t *testing.T) {
	if os.Getuid() == 0 {
		runAsNobody(t)
		return
	}
	g, src := NewWithT(t), t.TempDir()
	dirs := []string{"mod/pkg", "mod", "."}
	modes := []os.FileMode{0o511, 0o555, 0o500}
	g.Expect(os.MkdirAll(filepath.Join(src, "mod/pkg"), 0o755)).To(Succeed())
	for _, name := range []string{"mod/pkg/x.go", "mod/pkg/y.go"} {
		g.Expect(os.WriteFile(filepath.Join(src, name), []byte(name), 0o444)).To(Succeed())
	}
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	for name, tc := range map[string]struct {
		conflict  repository.Conflict
		path      string
		include   []string
		gone      bool
		untouched bool
	}{
		"a file that is selected": {conflict: repository.ConflictReplace, include: []string{"/mod/pkg/x.go"}},
		"a file alone":            {conflict: repository.ConflictReplace, path: "mod/pkg/x.go"},
		"what is gone":            {conflict: repository.ConflictSkip, gone: true},
		"what is gone or older":   {conflict: repository.ConflictNewer, gone: true},
		"nothing":                 {conflict: repository.ConflictSkip, untouched: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, out := NewWithT(t), t.TempDir()
			g.Expect(os.CopyFS(out, os.DirFS(src))).To(Succeed())
			if tc.gone {
				g.Expect(os.Remove(filepath.Join(out, "mod/pkg/x.go"))).To(Succeed())
			}
			for i, dir := range dirs {
				g.Expect(os.Chmod(filepath.Join(out, dir), modes[i])).To(Succeed())
			}
			t.Cleanup(func() {
				for _, dir := range slices.Backward(dirs) {
					_ = os.Chmod(filepath.Join(out, dir), 0o755)
				}
			})
			opt := restoring(tc.conflict)
			opt.Path, opt.Include = tc.path, tc.include
			res, err := e.Restore(t.Context(), s.ID, filepath.Join(out, filepath.Dir(tc.path)), opt)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.ReadFile(filepath.Join(out, "mod/pkg/x.go"))).To(BeEquivalentTo("mod/pkg/x.go"))
			g.Expect(res.Touched).To(Equal(!tc.untouched))
			for i, dir := range dirs {
				info, err := os.Stat(filepath.Join(out, dir))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(info.Mode().Perm()).To(Equal(modes[i]), dir)
			}
		})
	}
}
