package kopia_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/snapshot"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/kopia/faultstore"
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
	e := enginetest.Open(t, kopia.WithPasses(d, 1), initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{AllowPartial: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]int64{s.Unreadable, s.Vanished}).To(Equal([]int64{1, 1}))
	left, res := restoreBeside(t, e, s.ID, "a", "gone", "dir/caf\xe9", "dir/extra", "many/extra", "moved")
	g.Expect(left).To(ConsistOf("a", "gone", "dir/caf\xe9", "many/x", "moved"), "what is gone can be what moved")
	g.Expect([]int64{res.Deleted, res.ExtraKept}).To(Equal([]int64{2, 3}))
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

// TestADirectoryThatIsNotKnownIsNotTidied checks that a restore deletes nothing from a directory that it can't read in
// full: what is unknown is not extra. FIFOs are only in the attribute file.
func TestADirectoryThatIsNotKnownIsNotTidied(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage func([]*snapshot.DirEntry) // of the snapshot: the attribute file, a, and b
		failed bool                       // the storage fails where the attribute file is read
		want   []string
	}{
		"a damaged attribute file": {
			damage: func(entries []*snapshot.DirEntry) { entries[0].ObjectID = entries[1].ObjectID },
			want:   []string{"a", "b", "extra", "pipe"},
		},
		"a damaged name": {
			damage: func(entries []*snapshot.DirEntry) { entries[2].Name = ".cairn~n%zz" },
			want:   []string{"a", "extra", "pipe"},
		},
		"a storage that fails": {failed: true, want: []string{"extra", "pipe"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, src, out, r := NewWithT(t), t.Context(), t.TempDir(), t.TempDir(), initialized(t)
			for _, name := range []string{"a", "b"} {
				g.Expect(os.WriteFile(filepath.Join(src, name), []byte(name), 0o600)).To(Succeed())
			}
			g.Expect(unix.Mkfifo(filepath.Join(src, "pipe"), 0o600)).To(Succeed())
			var failing atomic.Bool
			e := enginetest.Open(t, kopia.Driver{Wrap: func(st blob.Storage) blob.Storage {
				return faultstore.Wrap(st, func(c faultstore.Call) faultstore.Fault {
					if failing.Load() && c.Op == "get" && c.ID[0] == 'p' {
						return faultstore.Fault{Err: faultstore.ErrInjected}
					}
					return faultstore.Fault{}
				})
			}}, r)
			s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			if tc.damage != nil {
				s.ID = kopia.WithEntries(t, e, s.ID, tc.damage)
			}
			g.Expect(unix.Mkfifo(filepath.Join(out, "pipe"), 0o600)).To(Succeed())
			g.Expect(os.WriteFile(filepath.Join(out, "extra"), []byte("extra"), 0o600)).To(Succeed())
			failing.Store(tc.failed)
			_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{
				OnConflict: repository.ConflictReplace, DeleteExtra: true,
			})
			g.Expect(err).To(HaveOccurred())
			entries, err := os.ReadDir(out)
			g.Expect(err).NotTo(HaveOccurred())
			left := slices.DeleteFunc(namesOf(entries), repository.IsOfARestore)
			g.Expect(left).To(Equal(tc.want))
		})
	}
}
