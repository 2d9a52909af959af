package kopia_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// restoreBeside restores a snapshot over a volume that holds the names, and returns those that are there afterwards.
func restoreBeside(
	t *testing.T, e repository.Engine, id string, names ...string,
) (left []string, res repository.RestoreResult) {
	t.Helper()
	g, out := NewWithT(t), t.TempDir()
	for _, name := range names {
		g.Expect(os.MkdirAll(filepath.Join(out, filepath.Dir(name)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(out, name), []byte("volume"), 0o644)).To(Succeed())
	}
	res, err := e.Restore(t.Context(), id, out,
		repository.RestoreOptions{OnConflict: repository.ConflictReplace, DeleteExtra: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(filepath.WalkDir(out, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(out, p)
			left = append(left, rel)
		}
		return err
	})).To(Succeed())
	return left, res
}

// TestEntriesThatTheBackupMissedAreKept checks that a restore deletes nothing that the backup could not see.
func TestEntriesThatTheBackupMissedAreKept(t *testing.T) {
	t.Parallel()
	g, src := NewWithT(t), t.TempDir()
	for _, name := range []string{"a", "gone", "dir/caf\xe9", "many/x"} {
		g.Expect(os.MkdirAll(filepath.Join(src, filepath.Dir(name)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(src, name), []byte("backup"), 0o644)).To(Succeed())
	}
	d := kopia.WithLstat(kopia.Driver{}, func(name string) error {
		switch name {
		case "gone":
			_ = os.Remove(filepath.Join(src, name))
		case "caf\xe9":
			return syscall.EACCES
		}
		return nil
	})
	e := enginetest.Open(t, d, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{AllowPartial: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]int64{s.Unreadable, s.Vanished}).To(Equal([]int64{1, 1}))
	left, res := restoreBeside(t, e, s.ID, "a", "gone", "dir/caf\xe9", "dir/extra", "extra")
	g.Expect(left).To(ConsistOf("a", "gone", "dir/caf\xe9", "many/x"))
	g.Expect([]int64{res.Deleted, res.ExtraKept}).To(Equal([]int64{2, 2}))
}

// TestASnapshotThatDoesNotSayWhatItLeftOut checks that a restore then deletes nothing, and says so.
func TestASnapshotThatDoesNotSayWhatItLeftOut(t *testing.T) {
	t.Parallel()
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf("missed-%d", i)
	}
	for name, tc := range map[string]struct {
		forget bool
		missed []string
	}{"of an older version": {forget: true}, "too many entries to keep": {missed: many}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src := NewWithT(t), t.TempDir()
			for _, name := range append([]string{"a"}, tc.missed...) {
				g.Expect(os.WriteFile(filepath.Join(src, name), []byte("backup"), 0o644)).To(Succeed())
			}
			d := kopia.WithLstat(kopia.Driver{}, func(name string) error {
				if name != "a" {
					return syscall.EACCES
				}
				return nil
			})
			e := enginetest.Open(t, d, initialized(t))
			s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src},
				repository.BackupOptions{AllowPartial: true})
			g.Expect(err).NotTo(HaveOccurred())
			if tc.forget {
				s.ID = kopia.WithDescription(t, e, s.ID, func(old string) string {
					var d map[string]any
					g.Expect(json.Unmarshal([]byte(old), &d)).To(Succeed())
					delete(d, "Rules")
					b, err := json.Marshal(d)
					g.Expect(err).NotTo(HaveOccurred())
					return string(b)
				})
			}
			left, res := restoreBeside(t, e, s.ID, "a", "extra/x", "extra/y", "more")
			g.Expect(left).To(ConsistOf("a", "extra/x", "extra/y", "more"))
			g.Expect([]int64{res.Deleted, res.ExtraKept}).To(Equal([]int64{0, 2}))
		})
	}
}
