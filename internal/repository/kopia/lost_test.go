package kopia_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// losses are ways in which a storage loses packs.
var losses = map[string]func(file string) error{
	"deleted": os.Remove,
	"cut off": func(file string) error { return os.Truncate(file, 100) },
}

// lose lets the storage lose the packs whose names begin with a letter: p holds files, q holds directories.
func lose(t *testing.T, r repository.Repository, kind string, how func(file string) error) {
	t.Helper()
	for _, file := range packFiles(t, r) {
		if strings.HasPrefix(packOf(r, file), kind) {
			NewWithT(t).Expect(how(file)).To(Succeed())
		}
	}
}

// inSession opens the repository for one call.
func inSession(t *testing.T, r repository.Repository, do func(repository.Engine)) {
	t.Helper()
	e, err := kopia.Driver{}.Open(t.Context(), r)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	do(e)
	NewWithT(t).Expect(e.Close(context.WithoutCancel(t.Context()))).To(Succeed())
}

// TestABackupAfterALossSendsWhatIsLost checks that a backup does not refer to data that the storage has lost: neither
// through files that did not change, nor through the index. The snapshots before are whole again where they hold the
// same data.
func TestABackupAfterALossSendsWhatIsLost(t *testing.T) {
	t.Parallel()
	for name, how := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, src, out, r := NewWithT(t), t.Context(), t.TempDir(), t.TempDir(), initialized(t)
			enginetest.Tree(t, src, 120)
			enginetest.Incompressible(t, filepath.Join(src, "big"), 2, 9<<20) // of several contents
			g.Expect(os.Link(filepath.Join(src, "dir0/file1"), filepath.Join(src, "linked"))).To(Succeed())
			var first, second repository.Snapshot
			backUp := func(e repository.Engine) (s repository.Snapshot) {
				s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				return s
			}
			inSession(t, r, func(e repository.Engine) { first = backUp(e) })
			inSession(t, r, func(e repository.Engine) { g.Expect(backUp(e).BytesSent).To(BeNumerically("<", 100<<10)) })
			lose(t, r, "p", how)
			inSession(t, r, func(e repository.Engine) {
				g.Expect(e.Check(ctx, []string{first.ID})).To(Equal([]string{first.ID}))
				_, err := e.Verify(ctx, first.ID, 0)
				g.Expect(err).To(MatchError(repository.ErrCorrupt))
				second = backUp(e)
				g.Expect(second.BytesSent).To(BeNumerically(">", 18<<20))
			})
			inSession(t, r, func(e repository.Engine) {
				for _, s := range []repository.Snapshot{first, second} {
					_, err := e.Verify(ctx, s.ID, 100)
					g.Expect(err).NotTo(HaveOccurred())
				}
				_, err := e.Restore(ctx, second.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
				g.Expect(err).NotTo(HaveOccurred())
				enginetest.Same(t, src, out)
				g.Expect(backUp(e).BytesSent).To(BeNumerically("<", 100<<10), "nothing is lost any more")
			})
		})
	}
}

// TestWhatIsBeforeACutIsWhole checks that a check blames only the snapshots that need the end of a pack.
func TestWhatIsBeforeACutIsWhole(t *testing.T) {
	t.Parallel()
	g, ctx, src, r := NewWithT(t), t.Context(), t.TempDir(), initialized(t)
	enginetest.Incompressible(t, src, 2, 1<<20)
	backUp := func(e repository.Engine) string {
		s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{Parallel: 1})
		g.Expect(err).NotTo(HaveOccurred())
		return s.ID
	}
	var both, first string
	inSession(t, r, func(e repository.Engine) { both = backUp(e) })
	g.Expect(os.Remove(filepath.Join(src, "0", "1"))).To(Succeed())
	inSession(t, r, func(e repository.Engine) { first = backUp(e) })
	lose(t, r, "p", func(file string) error { return os.Truncate(file, 3<<19) })
	inSession(t, r, func(e repository.Engine) {
		g.Expect(e.Check(ctx, []string{both, first})).To(Equal([]string{both}))
		_, err := e.Verify(ctx, first, 100)
		g.Expect(err).NotTo(HaveOccurred())
	})
}

// TestAStreamAfterALossIsSentAgain checks the same for the dump of a database.
func TestAStreamAfterALossIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, how := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, r, dump := NewWithT(t), t.Context(), initialized(t), make([]byte, 9<<20)
			rand.New(rand.NewSource(1)).Read(dump)
			var last repository.Snapshot
			backUp := func(e repository.Engine) {
				s, err := e.Backup(ctx, repository.Source{Name: "d", Stream: bytes.NewReader(dump)},
					repository.BackupOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				last = s
			}
			inSession(t, r, backUp)
			lose(t, r, "p", how)
			inSession(t, r, backUp)
			inSession(t, r, func(e repository.Engine) {
				var got bytes.Buffer
				g.Expect(e.RestoreStream(ctx, last.ID, &got)).To(Succeed())
				g.Expect(bytes.Equal(got.Bytes(), dump)).To(BeTrue())
			})
		})
	}
}

// TestATreeThatLostDataIsNoSnapshot checks a backup of a tree that takes days. Meanwhile somebody deletes the snapshot
// before it, from which it takes the files that did not change, and maintenance drops their data. The backup fails,
// also if it continues one that was interrupted and of which only a short backup, interrupted as well, has left
// anything. The next one sends the data again.
func TestATreeThatLostDataIsNoSnapshot(t *testing.T) {
	t.Parallel()
	for name, interrupted := range map[string]int{
		"in one run": 0, "in an interrupted run": 1, "before an interrupted run": 2,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
			enginetest.Incompressible(t, src, 3, 1<<20)
			g.Expect(os.MkdirAll(filepath.Join(src, "a", "b", "c"), 0o755)).To(Succeed())
			enginetest.Incompressible(t, filepath.Join(src, "a", "b", "c"), 30, 1<<20)
			d, c := dated()
			source := repository.Source{Name: "d", Dir: src}
			old, err := enginetest.Open(t, d, r).Backup(ctx, source, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			c.pass(26 * time.Hour)
			first, stop := context.WithCancel(ctx)
			defer stop()
			days, looks := 0, 0
			slow := kopia.WithLstat(d, func(name string) error {
				if name != "c" || days > 0 {
					if looks += days; looks == 3*20 && interrupted > 0 {
						stop()
						time.Sleep(200 * time.Millisecond) // until it has told the uploader
					}
					return nil
				}
				keeper := enginetest.Open(t, d, r)
				g.Expect(keeper.Delete(ctx, old.ID)).To(Succeed())
				for ; days < 3; days++ {
					c.pass(26 * time.Hour)
					g.Expect(keeper.Maintain(ctx, repository.MaintainOptions{Full: true})).To(Succeed())
				}
				return nil
			})
			_, err = enginetest.Open(t, slow, r).Backup(first, source, repository.BackupOptions{Parallel: 1})
			g.Expect(days).To(Equal(3))
			if interrupted > 0 {
				g.Expect(err).To(MatchError(repository.ErrCanceled))
				if interrupted > 1 {
					interruptedAgain(t, d, r, source)
				}
				_, err = enginetest.Open(t, d, r).Backup(ctx, source, repository.BackupOptions{})
			}
			g.Expect(err).To(MatchError(repository.ErrCorrupt))
			e := enginetest.Open(t, d, r)
			g.Expect(kopia.Unfinished(ctx, e)).To(BeEmpty())
			s, err := e.Backup(ctx, source, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = e.Restore(ctx, s.ID, t.TempDir(), repository.RestoreOptions{})
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

// interruptedAgain interrupts a backup that continues another one. What the other has left goes, as kopia lets go of
// old checkpoints.
func interruptedAgain(t *testing.T, d kopia.Driver, r repository.Repository, source repository.Source) {
	t.Helper()
	g, e := NewWithT(t), enginetest.Open(t, d, r)
	before, err := kopia.Unfinished(t.Context(), e)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(before).NotTo(BeEmpty())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	looks := 0
	short := kopia.WithLstat(d, func(string) error {
		if looks++; looks == 25 {
			stop()
			time.Sleep(200 * time.Millisecond)
		}
		return nil
	})
	_, err = enginetest.Open(t, short, r).Backup(ctx, source, repository.BackupOptions{Parallel: 1})
	g.Expect(err).To(MatchError(repository.ErrCanceled))
	e = enginetest.Open(t, d, r)
	g.Expect(e.Delete(t.Context(), before...)).To(Succeed())
	g.Expect(kopia.Unfinished(t.Context(), e)).NotTo(BeEmpty())
}

// TestALongTreeIsKeptWhileItIsChecked checks that a backup which is stopped during its check has not read for nothing.
func TestALongTreeIsKeptWhileItIsChecked(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
	enginetest.Tree(t, src, 10)
	d, c := dated()
	slow := kopia.WithLstat(d, func(string) error {
		c.pass(time.Hour)
		return nil
	})
	var kept []string
	_, err := enginetest.Open(t, slow, r).Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{
		Accept: func(repository.Snapshot) (err error) { // follows the check
			kept, err = kopia.Unfinished(ctx, enginetest.Open(t, d, r))
			return err
		},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kept).To(HaveLen(1))
	g.Expect(kopia.Unfinished(ctx, enginetest.Open(t, d, r))).To(BeEmpty())
}

// TestASnapshotThatLostDataIsNotContinued checks a snapshot that has lost data, from which a long backup takes what did
// not change. The backup fails, and the next one reads and sends the data again.
func TestASnapshotThatLostDataIsNotContinued(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
	enginetest.Incompressible(t, src, 3, 1<<20)
	d, c := dated()
	source := repository.Source{Name: "d", Dir: src}
	old, err := enginetest.Open(t, d, r).Backup(ctx, source, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kopia.LoseContents(ctx, enginetest.Open(t, d, r), old.ID)).To(Succeed())
	slow := kopia.WithLstat(d, func(string) error {
		c.pass(time.Hour)
		return nil
	})
	_, err = enginetest.Open(t, slow, r).Backup(ctx, source, repository.BackupOptions{})
	g.Expect(err).To(MatchError(repository.ErrCorrupt))
	e := enginetest.Open(t, d, r)
	_, err = e.Verify(ctx, old.ID, 0)
	g.Expect(err).To(MatchError(repository.ErrCorrupt), "it keeps its ID")
	for _, unchanged := range []int{0, 3} {
		s, p := backUp(ctx, g, e, src, repository.BackupOptions{})
		g.Expect(p.FilesUnchanged).To(BeEquivalentTo(unchanged))
		_, err = e.Verify(ctx, s.ID, 100)
		g.Expect(err).NotTo(HaveOccurred())
	}
}

// errUnseen stands for a backup that succeeds, and that no check looks at.
var errUnseen = errors.New("unseen")

// TestASnapshotThatACheckFindsDamagedIsNotContinued checks that a source whose backups are all short heals by itself
// after a loss: no backup of a few minutes looks for what its predecessor has. Nor does it go on from another backup
// that has its data from there: one that was refused, or one that the check did not know.
func TestASnapshotThatACheckFindsDamagedIsNotContinued(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]error{
		"by the next backup": nil, "through a refused backup": errors.New("no"),
		"through a backup during the check": errUnseen,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
			enginetest.Incompressible(t, src, 3, 1<<20)
			d, c := dated()
			e, source := enginetest.Open(t, d, r), repository.Source{Name: "d", Dir: src}
			old, err := e.Backup(ctx, source, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(kopia.LoseContents(ctx, e, old.ID)).To(Succeed())
			c.pass(time.Hour)
			again := func() {
				_, err = enginetest.Open(t, d, r).Backup(ctx, source, repository.BackupOptions{
					Accept: func(repository.Snapshot) error {
						if errors.Is(between, errUnseen) {
							return nil
						}
						return between
					},
				})
				c.pass(time.Hour)
			}
			if between != nil {
				again()
			}
			keeper := enginetest.Open(t, d, r)
			for range 2 { // what is known already changes nothing
				g.Expect(keeper.Check(ctx, []string{old.ID, "none"})).To(ConsistOf(old.ID, "none"))
			}
			c.pass(time.Hour)
			unchanged := []int{0, 3}
			if between != nil { // what is read from now on counts
				again()
				unchanged = []int{3, 3}
			}
			e = enginetest.Open(t, d, r)
			for _, n := range unchanged {
				s, p := backUp(ctx, g, e, src, repository.BackupOptions{})
				g.Expect(p.FilesUnchanged).To(BeEquivalentTo(n))
				g.Expect(e.Check(ctx, []string{s.ID})).To(BeEmpty())
				_, err = e.Verify(ctx, s.ID, 100)
				g.Expect(err).NotTo(HaveOccurred())
			}
		})
	}
}

// TestACheckWithoutTimeTellsWhatItFound checks a check that finds damage and has no time to look at each snapshot by
// itself.
func TestACheckWithoutTimeTellsWhatItFound(t *testing.T) {
	t.Parallel()
	g, r, src := NewWithT(t), initialized(t), t.TempDir()
	enginetest.Incompressible(t, src, 3, 1<<20)
	d, c := dated()
	e, source := enginetest.Open(t, d, r), repository.Source{Name: "d", Dir: src}
	old, err := e.Backup(t.Context(), source, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kopia.LoseContents(t.Context(), e, old.ID)).To(Succeed())
	c.pass(time.Hour)
	other, err := enginetest.Open(t, d, r).Backup(t.Context(), repository.Source{Name: "x", Dir: t.TempDir()},
		repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	looks := 0
	keeper := enginetest.Open(t, kopia.WithStep(d, func() {
		if looks++; looks == 2 {
			stop()
		}
	}), r)
	damaged, err := keeper.Check(ctx, []string{old.ID, other.ID})
	var part *repository.CheckedPart
	g.Expect(errors.As(err, &part)).To(BeTrue())
	g.Expect(part.Count).To(Equal(1))
	g.Expect(damaged).To(ConsistOf(old.ID))
	c.pass(time.Hour)
	_, p := backUp(t.Context(), g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeZero(), "the next backup reads every file")
}

// slowKeeper is the storage of a keeper whose maintenance has collected garbage, and then takes long before it drops
// what earlier collections have marked as deleted: it rewrites packs.
type slowKeeper struct {
	blob.Storage
	once          *sync.Once
	puts          *int
	reached, goOn chan struct{}
}

// PutBlob implements blob.Storage. kopia writes down each finished task.
func (s slowKeeper) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	if id == "kopia.maintenance" {
		if *s.puts++; *s.puts == 2 { // the first is its start, and the second the end of the collection
			s.once.Do(func() { close(s.reached) })
			<-s.goOn
		}
	}
	return s.Storage.PutBlob(ctx, id, data, o)
}

// TestATreeThatEndsDuringMaintenanceIsWhole checks a tree like TestATreeThatLostDataIsNoSnapshot. The backup ends while
// the maintenance of the third day is under way, which has looked for what is in use before the backup kept its tree,
// and drops the rest afterwards.
func TestATreeThatEndsDuringMaintenanceIsWhole(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
	enginetest.Incompressible(t, src, 3, 1<<20)
	g.Expect(os.MkdirAll(filepath.Join(src, "a", "b", "c"), 0o755)).To(Succeed())
	enginetest.Incompressible(t, filepath.Join(src, "a", "b", "c"), 30, 1<<20)
	d, c := dated()
	source := repository.Source{Name: "d", Dir: src}
	old, err := enginetest.Open(t, d, r).Backup(ctx, source, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	c.pass(26 * time.Hour)
	reached, goOn, maintained := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	puts := 0
	third := d
	third.Wrap = func(s blob.Storage) blob.Storage {
		return slowKeeper{d.Wrap(s), new(sync.Once), &puts, reached, goOn}
	}
	days := 0
	slow := kopia.WithLstat(d, func(name string) error {
		if name != "c" || days > 0 {
			return nil
		}
		keeper := enginetest.Open(t, d, r)
		g.Expect(keeper.Delete(ctx, old.ID)).To(Succeed())
		for ; days < 2; days++ {
			c.pass(26 * time.Hour)
			g.Expect(keeper.Maintain(ctx, repository.MaintainOptions{Full: true})).To(Succeed())
		}
		c.pass(26 * time.Hour)
		days++
		go func() {
			maintained <- enginetest.Open(t, third, r).Maintain(ctx, repository.MaintainOptions{Full: true})
		}()
		<-reached
		return nil
	})
	s, err := enginetest.Open(t, slow, r).Backup(ctx, source, repository.BackupOptions{Parallel: 1})
	g.Expect(days).To(Equal(3))
	close(goOn)
	g.Expect(<-maintained).To(Succeed())
	g.Expect(err).NotTo(HaveOccurred())
	e := enginetest.Open(t, d, r)
	_, err = e.Verify(ctx, s.ID, 100)
	g.Expect(err).NotTo(HaveOccurred(), "what was marked is stored again")
}
