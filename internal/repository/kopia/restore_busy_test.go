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

// mountOver mounts an entry over another one. It needs root.
func mountOver(t *testing.T, from, to string, readOnly bool) {
	t.Helper()
	needs(t)
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
	if readOnly {
		NewWithT(t).Expect(unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")).To(Succeed())
	}
}

// TestOneReadOnlyDirectoryDoesNotEndARestore restores over a directory that nobody can write to, such as one in which a
// file server shows its own snapshots. The rest is restored, and the log names what is not.
func TestOneReadOnlyDirectoryDoesNotEndARestore(t *testing.T) {
	t.Parallel()
	g, src, out, told := NewWithT(t), t.TempDir(), t.TempDir(), ""
	for _, name := range []string{".snapshot/nightly", "a", "dir/b", "z"} {
		g.Expect(os.MkdirAll(filepath.Join(src, filepath.Dir(name)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(src, name), []byte(name), 0o644)).To(Succeed())
	}
	g.Expect(os.Mkdir(filepath.Join(out, ".snapshot"), 0o755)).To(Succeed())
	mountOver(t, t.TempDir(), filepath.Join(out, ".snapshot"), true)
	r := initialized(t)
	r.Log = func(_, component, msg string) {
		if component == "restore" {
			told += msg + "\n"
		}
	}
	e := enginetest.Open(t, kopia.Driver{}, r)
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	opt := restoring(repository.ConflictReplace)
	_, err = e.Restore(t.Context(), s.ID, out, opt)
	g.Expect(err).To(And(MatchError(repository.ErrTarget), MatchError(unix.EROFS)))
	g.Expect(err).To(MatchError(ContainSubstring(".snapshot/nightly: ")))
	g.Expect(told).To(Equal("\".snapshot/nightly\": read-only file system\n"))
	g.Expect(pathsIn(t, out)).To(ConsistOf("a", "dir/b", "z"))
	opt.Exclude = []string{"/.snapshot"}
	_, err = e.Restore(t.Context(), s.ID, out, opt)
	g.Expect(err).NotTo(HaveOccurred())
}

// TestAReadOnlyTargetEndsARestore checks that a restore does not try each file of a target that is read-only.
func TestAReadOnlyTargetEndsARestore(t *testing.T) {
	t.Parallel()
	g, src, out, told := NewWithT(t), t.TempDir(), t.TempDir(), ""
	enginetest.Tree(t, src, 50)
	mountOver(t, out, out, true)
	r := initialized(t)
	r.Log = func(_, _, msg string) { told += msg + "\n" }
	e := enginetest.Open(t, kopia.Driver{}, r)
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	told = ""
	_, err = e.Restore(t.Context(), s.ID, out, restoring(repository.ConflictReplace))
	g.Expect(err).To(And(MatchError(repository.ErrTarget), MatchError(unix.EROFS)))
	g.Expect(strings.Count(told, "read-only")).To(Equal(1), told)
}

// TestFilesThatTheFileSystemHidesAreNotExtra checks that a restore does not fail for a name that NFS or FUSE gives to a
// deleted file which a program still has open. Such a file cannot be removed.
func TestFilesThatTheFileSystemHidesAreNotExtra(t *testing.T) {
	t.Parallel()
	g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(src, "a"), []byte("a"), 0o644)).To(Succeed())
	g.Expect(os.Mkdir(filepath.Join(out, "extra"), 0o755)).To(Succeed())
	hidden := []string{".nfs00000000000a1b2c00000001", "extra/.fuse_hidden0000000100000001"}
	for _, name := range append([]string{"extra/b", "busy", ".cairn~a"}, hidden...) {
		g.Expect(os.WriteFile(filepath.Join(out, name), []byte("x"), 0o644)).To(Succeed())
	}
	for _, name := range hidden { // what is mounted on is as busy
		mountOver(t, filepath.Join(out, name), filepath.Join(out, name), false)
	}
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	opt := restoring(repository.ConflictReplace)
	opt.DeleteExtra = true
	res, err := e.Restore(t.Context(), s.ID, out, opt)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pathsIn(t, out)).To(ConsistOf(append(hidden, "a")))
	g.Expect([]int64{res.Deleted, res.ExtraKept}).To(Equal([]int64{3, 0}))
	busy := filepath.Join(out, "busy")
	g.Expect(os.WriteFile(busy, []byte("x"), 0o644)).To(Succeed())
	mountOver(t, busy, busy, false)
	_, err = e.Restore(t.Context(), s.ID, out, opt)
	g.Expect(err).To(And(MatchError(unix.EBUSY), MatchError(ContainSubstring("busy: "))), "any other file")
}
