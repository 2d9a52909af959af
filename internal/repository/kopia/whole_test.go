package kopia_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sync"
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

// TestExcludingHiddenFiles checks that a pattern of the user for hidden files does not exclude the driver's own
// files.
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

// TestAnUnfinishedSnapshotIsNone checks that only the next backup sees what a canceled backup left.
func TestAnUnfinishedSnapshotIsNone(t *testing.T) {
	t.Parallel()
	g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
	enginetest.Incompressible(t, src, 400, 100<<10)
	enginetest.Endless(t, src)
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{Parallel: 1, ProgressEvery: 1, Progress: func(p repository.Progress) {
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

// TestNamesThatCannotBeFound checks that files do not count as deleted where a file system lists names that it
// cannot find, such as a network mount with names that it cannot translate, or a driver whose backend is away.
func TestNamesThatCannotBeFound(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T, passes int, lstat func(src, name string) error) (repository.Snapshot, error) {
		t.Helper()
		src := t.TempDir()
		enginetest.Tree(t, src, 5)
		d := kopia.WithLstat(kopia.Driver{}, func(name string) error { return lstat(filepath.Join(src, "dir0"), name) })
		e := enginetest.Open(t, kopia.WithPasses(d, passes), initialized(t))
		s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
		l, lerr := e.List(t.Context(), "")
		NewWithT(t).Expect(lerr).NotTo(HaveOccurred())
		NewWithT(t).Expect(l).To(HaveLen(map[bool]int{true: 1}[err == nil]))
		return s, err
	}
	t.Run("a file that is listed but not found is unreadable", func(t *testing.T) {
		g := NewWithT(t)
		s, err := setup(t, 0, func(_, name string) error {
			if name == "file3" {
				return syscall.ENOENT
			}
			return nil
		})
		g.Expect(err).To(MatchError(repository.ErrPartial))
		g.Expect(s.Unreadable).To(BeEquivalentTo(1))
	})
	t.Run("a file that was deleted has vanished, until the tree is read again", func(t *testing.T) {
		for passes, vanished := range map[int]int64{1: 1, 2: 0} {
			g := NewWithT(t)
			s, err := setup(t, passes, func(dir, name string) error {
				if name == "file3" {
					return os.Remove(filepath.Join(dir, name))
				}
				return nil
			})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect([]int64{s.Files, s.Vanished}).To(Equal([]int64{4, vanished}))
		}
	})
	t.Run("a file that is replaced again and again", func(t *testing.T) {
		g, gone := NewWithT(t), 0
		s, err := setup(t, 0, func(_, name string) error {
			if name == "file3" && gone < 4 {
				gone++
				return syscall.ENOENT
			}
			return nil
		})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Files).To(BeEquivalentTo(5))
		g.Expect(s.Vanished).To(BeZero())
	})
	t.Run("a file that is back was replaced", func(t *testing.T) {
		g, gone := NewWithT(t), false
		s, err := setup(t, 0, func(_, name string) error {
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

// TestMuchThatChangesIsNotReadAgain checks that AllowChanged limits how much is read again.
func TestMuchThatChangesIsNotReadAgain(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for limit, again := range map[int64]bool{size: true, size - 1: false} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			g, src := NewWithT(t), t.TempDir()
			file := filepath.Join(src, "busy")
			g.Expect(os.WriteFile(file, make([]byte, size), 0o644)).To(Succeed())
			old := time.Now().Add(-time.Hour)
			g.Expect(os.Chtimes(file, old, old)).To(Succeed())
			looks := 0 // one lookup for each time that the tree is read
			d := kopia.WithLstat(kopia.WithReadAgain(kopia.Driver{}, limit), func(name string) error {
				if name == "busy" {
					looks++
				}
				return nil
			})
			d = kopia.WithFileTime(d, func() time.Time { // called when a file was just opened
				g.Expect(os.WriteFile(file, make([]byte, size), 0o644)).To(Succeed())
				return old.Add(-time.Hour)
			})
			e := enginetest.Open(t, d, initialized(t))
			s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src},
				repository.BackupOptions{AllowChanged: true})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(looks > 1).To(Equal(again), "%d readings", looks)
			if !again {
				g.Expect(s.Changed).To(BeEquivalentTo(1))
			}
		})
	}
}

// TestAWriteThatLeavesTheTimes checks a file that is written to twice within one time step of the file system. The
// second write leaves the times unchanged, so content that was read between the two writes must not count as
// current.
func TestAWriteThatLeavesTheTimes(t *testing.T) {
	t.Parallel()
	for name, age := range map[string]time.Duration{"a new file": 0, "a file whose time is set back": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leavesTheTimes(t, age)
		})
	}
}

// leavesTheTimes sets the time of the last write to that age.
func leavesTheTimes(t *testing.T, age time.Duration) {
	g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
	file, at := filepath.Join(src, "busy"), time.Now()
	passes, writes := 0, byte(0)
	write := func() {
		writes++
		g.Expect(os.WriteFile(file, bytes.Repeat([]byte{writes}, 1<<20), 0o644)).To(Succeed())
		g.Expect(os.Chtimes(file, at.Add(-age), at.Add(-age))).To(Succeed())
	}
	write()
	d := kopia.WithEachLstat(kopia.WithChangeTime(kopia.Driver{}, at), func(name string) {
		if name == "busy" {
			passes++
		}
	})
	// The clock is read after the file was opened, and again after it was read. It always returns the time of the last
	// write, however slow this machine is.
	d = kopia.WithFileTime(d, func() time.Time {
		if passes == 1 {
			write()
		}
		return at
	})
	e := enginetest.Open(t, d, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(writes).To(BeEquivalentTo(3), "the last one after it was read")
	g.Expect(passes).To(BeNumerically(">", 1), "the file was read again")
	g.Expect(s.Changed).To(BeZero(), "nobody wrote any more when it was")
	_, err = e.Restore(t.Context(), s.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	want, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	got, err := os.ReadFile(filepath.Join(out, "busy"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Equal(got, want)).To(BeTrue(), "the file is restored as it was left")
}

// TestASourceThatIsWrittenTo backs up a tree whose files come, go, grow, shrink and are replaced all the time. A
// successful backup must be complete and restorable, and untouched files must come back unchanged.
func TestASourceThatIsWrittenTo(t *testing.T) {
	t.Parallel()
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	still := filepath.Join(src, "still")
	enginetest.Tree(t, src, 200)
	enginetest.Tree(t, still, 50)
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	stop, done := context.WithCancel(ctx)
	defer done()
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() { churn(stop, src, 200, rand.New(rand.NewSource(int64(w)))) })
	}
	for range 3 {
		s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = e.Verify(ctx, s.ID, 100)
		g.Expect(err).NotTo(HaveOccurred())
		out := t.TempDir()
		res, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Files + res.Links).To(Equal(s.Files))
		enginetest.Same(t, still, filepath.Join(out, "still"))
	}
	done()
	writers.Wait()
	s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	out := t.TempDir()
	_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
	g.Expect(err).NotTo(HaveOccurred())
	enginetest.Same(t, src, out) // also files that were written to during an earlier backup
}

// churn changes the files of a Tree of n until it is stopped. It ignores errors, because two calls work on the same
// files.
func churn(stop context.Context, src string, n int, rnd *rand.Rand) {
	for stop.Err() == nil {
		p := filepath.Join(src, fmt.Sprint("dir", rnd.Intn(n/100)), fmt.Sprint("file", rnd.Intn(n)))
		switch rnd.Intn(6) {
		case 0:
			_ = os.Remove(p)
		case 1:
			_ = os.WriteFile(p, make([]byte, rnd.Intn(200_000)), 0o644)
		case 2:
			if f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644); err == nil {
				_, _ = f.Write(make([]byte, rnd.Intn(100_000)))
				_ = f.Close()
			}
		case 3:
			_ = os.Truncate(p, int64(rnd.Intn(1000)))
		case 4:
			_ = os.WriteFile(p+".tmp", make([]byte, rnd.Intn(20_000)), 0o644)
			_ = os.Rename(p+".tmp", p)
		case 5:
			_ = os.Mkdir(p+".d", 0o755)
			_ = os.WriteFile(p+".d/x", nil, 0o644)
			_ = os.RemoveAll(p + ".d")
		}
	}
}

// TestACheckpointThatFails checks that the error has the reason: kopia only cancels the upload, as if the caller
// had asked for it.
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
	_, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{Parallel: 1, CheckpointEvery: time.Millisecond})
	g.Expect(err).To(MatchError(repository.ErrStorageFull))
	g.Expect(e.List(ctx, "")).To(BeEmpty())
}

// TestAFileIsReadToItsEnd checks that the size at the start of a backup does not cut a file that grows.
func TestAFileIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	g, src := NewWithT(t), t.TempDir()
	file := filepath.Join(src, "log")
	g.Expect(os.WriteFile(file, []byte("first"), 0o600)).To(Succeed())
	g.Expect(kopia.ReadGrowing(t.Context(), src, "log", func() {
		g.Expect(os.WriteFile(file, []byte("first, second"), 0o600)).To(Succeed())
	})).To(BeEquivalentTo("first, second"))
}
