package kopia_test

import (
	"io/fs"
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

// TestABackupReadsNothingOutsideItsVolume swaps an entry once the backup has looked at it. What takes its place leads
// out of the volume, or could be opened or read for ever.
func TestABackupReadsNothingOutsideItsVolume(t *testing.T) {
	const secret = "a secret outside"
	fifo := func(name string) error {
		if err := unix.Mkfifo(name, 0o600); err != nil {
			return err
		}
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0) // a writer that never writes
		if err == nil {
			t.Cleanup(func() { _ = unix.Close(fd) })
		}
		return err
	}
	for title, tt := range map[string]struct {
		dir  bool // the entry is a directory
		swap func(outside, name string) error
	}{
		"a file for a link to a file": {swap: func(outside, name string) error {
			return os.Symlink(filepath.Join(outside, "secret"), name)
		}},
		"a file for a link to a directory":      {swap: os.Symlink},
		"a file for a FIFO":                     {swap: func(_, name string) error { return fifo(name) }},
		"a directory for a link to a directory": {dir: true, swap: os.Symlink},
		"a directory for a FIFO":                {dir: true, swap: func(_, name string) error { return fifo(name) }},
	} {
		t.Run(title, func(t *testing.T) {
			g, src, outside := NewWithT(t), t.TempDir(), t.TempDir()
			entry := filepath.Join(src, "entry")
			g.Expect(os.WriteFile(filepath.Join(outside, "secret"), []byte(secret), 0o600)).To(Succeed())
			g.Expect(os.WriteFile(filepath.Join(src, "other"), []byte("ours"), 0o600)).To(Succeed())
			if tt.dir {
				g.Expect(os.Mkdir(entry, 0o700)).To(Succeed())
			} else {
				g.Expect(os.WriteFile(entry, []byte("ours"), 0o600)).To(Succeed())
			}
			swapped := false
			d := kopia.WithStat(kopia.WithPasses(kopia.Driver{}, 1), func(name string, _ *unix.Stat_t) {
				if name != "entry" || swapped {
					return
				}
				swapped = true
				g.Expect(os.Remove(entry)).To(Succeed())
				g.Expect(tt.swap(outside, entry)).To(Succeed())
			})
			e := enginetest.Open(t, d, initialized(t))
			over := make(chan error, 1)
			var snap repository.Snapshot
			go func() {
				var err error
				snap, err = e.Backup(t.Context(), repository.Source{Name: "d", Dir: src},
					repository.BackupOptions{AllowPartial: true})
				over <- err
			}()
			var err error
			g.Eventually(over, "20s").Should(Receive(&err), "the backup ends")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(swapped).To(BeTrue(), "the attack was tried")
			g.Expect(snap.Unreadable).To(BeEquivalentTo(1), "the backup says what it lacks")
			out := t.TempDir()
			_, err = e.Restore(t.Context(), snap.ID, out, repository.RestoreOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(filepath.WalkDir(out, func(p string, d fs.DirEntry, err error) error {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(d.Type() & fs.ModeSymlink).To(BeZero())
				if d.Type().IsRegular() {
					b, err := os.ReadFile(p)
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(strings.Contains(string(b), secret)).To(BeFalse(), p)
				}
				return nil
			})).To(Succeed())
		})
	}
}
