package kopia_test

import (
	"os"
	"path/filepath"
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
