package kopia_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestARestoreKeepsSubvolumes checks that a restore deletes no subvolume that the snapshot does not have, and says so.
func TestARestoreKeepsSubvolumes(t *testing.T) {
	t.Parallel()
	needs(t, "btrfs")
	g, src := NewWithT(t), t.TempDir()
	out := looped(t, filepath.Join(t.TempDir(), "image"), "btrfs")
	g.Expect(os.WriteFile(filepath.Join(src, "a"), []byte("x"), 0o600)).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	enginetest.Program(t, "btrfs", "subvolume", "create", filepath.Join(out, "before"))
	for _, name := range []string{"before/b", "dir/c", "mounted/d"} {
		g.Expect(os.MkdirAll(filepath.Join(out, filepath.Dir(name)), 0o755)).To(Succeed())
		if strings.HasPrefix(name, "mounted") {
			at := filepath.Join(out, "mounted")
			g.Expect(unix.Mount("tmpfs", at, "tmpfs", 0, "")).To(Succeed())
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
		}
		g.Expect(os.WriteFile(filepath.Join(out, name), []byte("x"), 0o600)).To(Succeed())
	}
	opt := restoring(repository.ConflictReplace)
	opt.DeleteExtra = true
	res, err := e.Restore(t.Context(), s.ID, out, opt)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.ExtraKept).To(BeEquivalentTo(1), "the subvolume")
	g.Expect(filepath.Join(out, "before/b")).To(BeAnExistingFile())
	g.Expect(filepath.Join(out, "mounted/d")).To(BeAnExistingFile())
	g.Expect(filepath.Join(out, "dir")).NotTo(BeADirectory())
}
