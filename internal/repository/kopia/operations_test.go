package kopia_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestPartial checks that unreadable entries make a backup fail unless they are allowed. Root can read everything,
// so the test runs itself as nobody.
func TestPartial(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		runAsNobody(t)
		return
	}
	g, ctx := NewWithT(t), t.Context()
	src := t.TempDir()
	enginetest.Tree(t, src, 120)
	g.Expect(os.Chmod(filepath.Join(src, "dir0", "file7"), 0)).To(Succeed())
	g.Expect(os.Chmod(filepath.Join(src, "dir1"), 0)).To(Succeed())
	defer func() { _ = os.Chmod(filepath.Join(src, "dir1"), 0o755) }()
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).To(MatchError(repository.ErrPartial))
	g.Expect(s.ID).To(BeEmpty())
	g.Expect(s.Unreadable).To(BeEquivalentTo(2))
	g.Expect(e.List(ctx, "")).To(BeEmpty())

	s, err = e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{AllowPartial: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Unreadable).To(BeEquivalentTo(2))
	g.Expect(s.Problems).To(HaveLen(2))
	g.Expect(s.Files).To(BeEquivalentTo(99))
}

// TestLostAndFound checks that lost+found in the root of a file system fails neither the backup nor the restore of
// a user who is not allowed to read it. Everywhere else the name is that of an ordinary directory.
func TestLostAndFound(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		runAsNobody(t)
		return
	}
	g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
	enginetest.Tree(t, src, 3)
	for _, dir := range []string{
		filepath.Join(src, "lost+found"), filepath.Join(out, "lost+found"), filepath.Join(src, "dir0/lost+found"),
	} {
		g.Expect(os.Mkdir(dir, 0o755)).To(Succeed())
	}
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	backup := func() (repository.Snapshot, error) {
		return e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	}
	readable, err := backup()
	g.Expect(err).NotTo(HaveOccurred())
	hide := func(dir string) {
		g.Expect(os.Chmod(dir, 0)).To(Succeed())
		t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	}
	hide(filepath.Join(out, "lost+found"))
	res, err := e.Restore(ctx, readable.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Files).To(BeEquivalentTo(3))

	hide(filepath.Join(src, "lost+found"))
	s, err := backup()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Files).To(BeEquivalentTo(3))
	hide(filepath.Join(src, "dir0/lost+found"))
	_, err = backup()
	g.Expect(err).To(MatchError(repository.ErrPartial))
}

func runAsNobody(t *testing.T) {
	g := NewWithT(t)
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("root reads everything: install setpriv (util-linux), or run as another user")
	}
	dir, err := os.MkdirTemp("", "partial") // t.TempDir lies below directories only root can enter
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = os.RemoveAll(dir) }()
	g.Expect(os.Chmod(dir, 0o777)).To(Succeed())
	program, err := os.ReadFile(os.Args[0])
	g.Expect(err).NotTo(HaveOccurred())
	copied := filepath.Join(dir, "test")
	g.Expect(os.WriteFile(copied, program, 0o755)).To(Succeed())
	g.Expect(os.Chmod(copied, 0o755)).To(Succeed(), "whatever the umask")
	cmd := exec.CommandContext(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copied,
		"-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	out, err := cmd.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), "%s", out)
	g.Expect(bytes.Contains(out, []byte("PASS: "+t.Name()))).To(BeTrue(), "%s", out)
}

// TestMaintainBesideBackups runs full maintenance all the time, with kopia's waiting periods, while writers
// back up and delete.
func TestMaintainBesideBackups(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := initialized(t)
	var (
		writers, maintainer sync.WaitGroup
		mu                  sync.Mutex
		kept                = map[string]bool{} // false: deleted
		failed              error
	)
	check := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	}
	stop, done := context.WithCancel(ctx)
	m := enginetest.Open(t, kopia.Driver{}, enginetest.Repo(t, r.Storage))
	runs := 0
	maintainer.Go(func() {
		for ; stop.Err() == nil; runs++ {
			check(m.Maintain(ctx, repository.MaintainOptions{Full: true}))
		}
	})
	for w := range 3 {
		src, r := t.TempDir(), enginetest.Repo(t, r.Storage)
		enginetest.Tree(t, src, 100)
		e := enginetest.Open(t, kopia.Driver{}, r)
		writers.Go(func() {
			last := ""
			for i := range 8 {
				check(os.WriteFile(filepath.Join(src, "n"), fmt.Append(nil, w, i), 0o644))
				s, err := e.Backup(ctx, repository.Source{Name: fmt.Sprint("w", w), Dir: src},
					repository.BackupOptions{})
				check(err)
				if i%2 == 1 {
					check(e.Delete(ctx, last))
				}
				mu.Lock()
				kept[s.ID] = true
				if last != "" {
					kept[last] = i%2 == 0
				}
				mu.Unlock()
				last = s.ID
			}
		})
	}
	writers.Wait()
	done()
	maintainer.Wait()
	g.Expect(failed).NotTo(HaveOccurred())
	g.Expect(runs).NotTo(BeZero())

	e := enginetest.Open(t, kopia.Driver{}, enginetest.Repo(t, r.Storage))
	l, err := e.List(ctx, "")
	g.Expect(err).NotTo(HaveOccurred())
	var back []string
	for _, s := range l {
		_, err := e.Verify(ctx, s.ID, 100)
		g.Expect(err).NotTo(HaveOccurred())
		if !kept[s.ID] {
			back = append(back, s.ID)
		}
		delete(kept, s.ID)
	}
	g.Expect(kept).NotTo(ContainElement(true), "a snapshot was lost")
	// Writers compact manifests on their own. A writer that had not seen a deletion brings the snapshot back. A second
	// deletion without other writers must last. The caller has to remember what it deleted.
	t.Logf("%d maintenance runs; %d deleted snapshots came back", runs, len(back))
	g.Expect(e.Delete(ctx, back...)).To(Succeed())
	g.Expect(e.List(ctx, "")).To(HaveLen(12))
}

// TestClockSkew checks that a writer whose clock is two days wrong is refused before it leaves a snapshot.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for skew, refused := range map[time.Duration]bool{48 * time.Hour: true, -48 * time.Hour: true, time.Minute: false} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			r, src := initialized(t), t.TempDir()
			enginetest.Tree(t, src, 20)
			skewed := enginetest.Open(t, kopia.Driver{Now: func() time.Time { return time.Now().Add(skew) }}, r)
			_, err := skewed.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			e := enginetest.Open(t, kopia.Driver{}, enginetest.Repo(t, r.Storage))
			l, lerr := e.List(ctx, "")
			g.Expect(lerr).NotTo(HaveOccurred())
			if refused {
				g.Expect(err).To(MatchError(repository.ErrClockSkew))
				g.Expect(l).To(BeEmpty())
			} else {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(l).To(HaveLen(1))
			}
			_, err = e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred(), "a writer with the right time after it")
		})
	}
}

// TestCheckpointsKeepSnapshots checks that checkpoints delete no snapshot: each runs kopia's own retention, which
// keeps ten by default.
func TestCheckpointsKeepSnapshots(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	src := t.TempDir()
	enginetest.Incompressible(t, src, 100, 64<<10)
	const n = 15
	for i := range n {
		g.Expect(os.WriteFile(filepath.Join(src, "n"), fmt.Append(nil, i), 0o644)).To(Succeed())
		_, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src},
			repository.BackupOptions{CheckpointEvery: time.Millisecond})
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(e.List(ctx, "d")).To(HaveLen(n))
}
