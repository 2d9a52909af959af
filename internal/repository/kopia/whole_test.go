package kopia_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/kopia/faultstore"
)

// TestExcludingHiddenFiles: what the driver itself hides behind names with a dot is not hidden by the user.
func TestExcludingHiddenFiles(t *testing.T) {
	t.Parallel()
	g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
	g.Expect(os.MkdirAll(filepath.Join(src, "caf\xe9/.git"), 0o755)).To(Succeed())
	for _, name := range []string{"plain", "\xff", ".hidden", "caf\xe9/in\xfe", "caf\xe9/.hidden", "caf\xe9/.git/x"} {
		g.Expect(os.WriteFile(filepath.Join(src, name), []byte(name), 0o644)).To(Succeed())
	}
	g.Expect(os.Link(filepath.Join(src, "plain"), filepath.Join(src, "linked"))).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{Exclude: []string{".*"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Files).To(BeEquivalentTo(4))
	_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	g.Expect(filepath.WalkDir(out, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(out, p)
			names = append(names, rel)
		}
		return err
	})).To(Succeed())
	g.Expect(names).To(ConsistOf("plain", "linked", "\xff", "caf\xe9/in\xfe"))
	plain, err := os.Stat(filepath.Join(out, "plain"))
	g.Expect(err).NotTo(HaveOccurred())
	linked, err := os.Stat(filepath.Join(out, "linked"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.SameFile(plain, linked)).To(BeTrue(), "hard links stay hard links")
}

// TestAnUnfinishedSnapshotIsNone: what a canceled backup left is there for the next backup only.
func TestAnUnfinishedSnapshotIsNone(t *testing.T) {
	t.Parallel()
	g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
	enginetest.Incompressible(t, src, 400, 100<<10)
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{Parallel: 1, ProgressEvery: 1, Progress: func(p repository.Progress) {
		if p.FilesDone > 0 {
			cancel()
		}
	}})
	g.Expect(err).To(MatchError(repository.ErrCanceled))
	left, err := kopia.Unfinished(t.Context(), e)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(HaveLen(1))
	_, err = e.Restore(t.Context(), left[0], out, repository.RestoreOptions{})
	g.Expect(err).To(MatchError(repository.ErrNotFound))
	g.Expect(os.ReadDir(out)).To(BeEmpty())
	_, err = e.Verify(t.Context(), left[0], 100)
	g.Expect(err).To(MatchError(repository.ErrNotFound))
}

// TestNamesThatCannotBeFound: a file system that lists what it cannot find (a network mount with names it cannot
// translate, a driver whose backend is away) is not one whose files were just deleted.
func TestNamesThatCannotBeFound(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T, lstat func(src, name string) error) (repository.Snapshot, error) {
		src := t.TempDir()
		enginetest.Tree(t, src, 5)
		d := kopia.WithLstat(kopia.Driver{}, func(name string) error { return lstat(filepath.Join(src, "dir0"), name) })
		e := enginetest.Open(t, d, initialized(t))
		s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
		l, lerr := e.List(t.Context(), "")
		NewWithT(t).Expect(lerr).NotTo(HaveOccurred())
		NewWithT(t).Expect(l).To(HaveLen(map[bool]int{true: 1}[err == nil]))
		return s, err
	}
	t.Run("a file that is listed but not found is unreadable", func(t *testing.T) {
		g := NewWithT(t)
		s, err := setup(t, func(_, name string) error {
			if name == "file3" {
				return syscall.ENOENT
			}
			return nil
		})
		g.Expect(err).To(MatchError(repository.ErrPartial))
		g.Expect(s.Unreadable).To(BeEquivalentTo(1))
	})
	t.Run("a file that was deleted has vanished", func(t *testing.T) {
		g := NewWithT(t)
		s, err := setup(t, func(dir, name string) error {
			if name == "file3" {
				return os.Remove(filepath.Join(dir, name))
			}
			return nil
		})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Files).To(BeEquivalentTo(4))
		g.Expect(s.Vanished).To(BeEquivalentTo(1))
	})
	t.Run("a file that is back was replaced", func(t *testing.T) {
		g, gone := NewWithT(t), false
		s, err := setup(t, func(_, name string) error {
			if name == "file3" && !gone {
				gone = true
				return syscall.ENOENT
			}
			return nil
		})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Files).To(BeEquivalentTo(5))
		g.Expect(s.Vanished).To(BeZero())
	})
}

// TestACheckpointThatFails says why: kopia only cancels the upload, as if somebody had asked for that.
func TestACheckpointThatFails(t *testing.T) {
	t.Parallel()
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	enginetest.Incompressible(t, src, 400, 100<<10)
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	d := kopia.Driver{Wrap: func(st blob.Storage) blob.Storage {
		return faultstore.Wrap(st, func(c faultstore.Call) faultstore.Fault {
			if c.Op == "put" && c.ID[0] == 'x' {
				return faultstore.Fault{Err: full}
			}
			return faultstore.Fault{}
		})
	}}
	e := enginetest.Open(t, d, initialized(t))
	_, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{Parallel: 1, CheckpointEvery: time.Millisecond})
	g.Expect(err).To(MatchError(repository.ErrStorageFull))
	g.Expect(e.List(ctx, "")).To(BeEmpty())
}
