package kopia_test

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/kopia/faultstore"
)

// failingFrom returns a driver whose writes fail from the n-th on while armed. With lost they happen, but report an
// error.
func failingFrom(n int64, lost bool, armed *atomic.Bool, hit *atomic.Int64) kopia.Driver {
	var puts atomic.Int64
	plan := func(c faultstore.Call) faultstore.Fault {
		if !armed.Load() || c.Op != "put" || puts.Add(1) < n {
			return faultstore.Fault{}
		}
		hit.Add(1)
		if lost {
			return faultstore.Fault{Lose: faultstore.ErrInjected}
		}
		return faultstore.Fault{Err: faultstore.ErrInjected}
	}
	return kopia.Driver{Wrap: func(st blob.Storage) blob.Storage { return faultstore.Wrap(st, plan) }}
}

// TestInterruptedInit stops Init at every write. The next Init must complete the repository: with an owner, and with
// kopia's own retention switched off.
func TestInterruptedInit(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		for n, interrupted := int64(1), true; interrupted; n++ {
			t.Run(fmt.Sprintf("write %d fails, done all the same: %v", n, lost), func(t *testing.T) {
				g, ctx := NewWithT(t), t.Context()
				var armed atomic.Bool
				var hit atomic.Int64
				armed.Store(true)
				r := enginetest.Repo(t, local(t))
				err := failingFrom(n, lost, &armed, &hit).Init(ctx, r)
				interrupted = hit.Load() > 0
				if !interrupted {
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(n).To(BeNumerically(">", 3), "so few writes cannot be all")
				}
				g.Expect(kopia.Driver{}.Init(ctx, r)).To(Or(Succeed(), MatchError(repository.ErrAlreadyInitialized)))
				e := enginetest.Open(t, kopia.Driver{}, r)
				g.Expect(e.Maintain(ctx, repository.MaintainOptions{Full: true})).To(Succeed(), "the owner is set")
				g.Expect(kopia.KeepsAll(ctx, e)).To(BeTrue(), "kopia's retention is off")
			})
		}
	}
}

// TestAStorageThatBreaksOff checks that a broken connection counts as an error of the storage, not of the volume.
// Otherwise a restore would ask for more space in a healthy volume.
func TestAStorageThatBreaksOff(t *testing.T) {
	t.Parallel()
	reset := fmt.Errorf("get blob: %w",
		&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)})
	for _, op := range []string{"get", "put"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
			enginetest.Incompressible(t, src, 3, 1<<20)
			source := repository.Source{Name: "d", Dir: src}
			var armed atomic.Bool
			d := kopia.Driver{Wrap: func(st blob.Storage) blob.Storage {
				return faultstore.Wrap(st, func(c faultstore.Call) faultstore.Fault {
					if armed.Load() && c.Op == op && c.ID[0] == 'p' { // a pack of data
						return faultstore.Fault{Err: reset}
					}
					return faultstore.Fault{}
				})
			}}
			r := initialized(t)
			s, err := enginetest.Open(t, kopia.Driver{}, r).Backup(ctx, source, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			r.CacheDir = t.TempDir() // one that holds nothing yet
			e := enginetest.Open(t, d, r)
			armed.Store(true)
			if op == "get" {
				_, err = e.Restore(ctx, s.ID, t.TempDir(), repository.RestoreOptions{})
			} else {
				enginetest.Incompressible(t, src, 4, 1<<20)
				_, err = e.Backup(ctx, source, repository.BackupOptions{})
			}
			g.Expect(err).To(MatchError(repository.ErrUnreachable))
			g.Expect(err).NotTo(Or(MatchError(repository.ErrTarget), MatchError(repository.ErrSource)))
		})
	}
}

// TestFaults fails all writes from the n-th on, before or after they happened. Whatever is reported, the
// repository must open, a reported success must verify, and a reported failure must have left at most one
// snapshot, which then must verify too (a lost reply may hide a success) and be found by its tags.
func TestFaults(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	enginetest.Tree(t, src, 200)
	source := repository.Source{Name: "d", Dir: src}
	tags := map[string]string{"snapshot-uid": "u"}
	empty := initialized(t).Storage.Local.Path // copied for each case: to make one takes most of the time
	for _, lost := range []bool{false, true} {
		for n, interrupted := int64(1), true; interrupted; n++ {
			t.Run(fmt.Sprintf("write %d fails, done all the same: %v", n, lost), func(t *testing.T) {
				g, ctx := NewWithT(t), t.Context()
				var armed atomic.Bool
				var hit atomic.Int64
				r := enginetest.Repo(t, local(t))
				g.Expect(os.CopyFS(r.Storage.Local.Path, os.DirFS(empty))).To(Succeed())
				e, err := failingFrom(n, lost, &armed, &hit).Open(ctx, r)
				g.Expect(err).NotTo(HaveOccurred())
				armed.Store(true)
				// AllowPartial is about the source: a failing storage must not count as an unreadable file.
				s, failure := e.Backup(ctx, source, repository.BackupOptions{AllowPartial: true, Tags: tags})
				armed.Store(false)
				other, err := e.Backup(ctx, repository.Source{Name: "other", Dir: src}, repository.BackupOptions{})
				g.Expect(err).NotTo(HaveOccurred(), "the next component uses the same connection")
				_ = e.Close(ctx) // may fail for the fault
				if interrupted = hit.Load() > 0; !interrupted {
					g.Expect(n).To(BeNumerically(">", 4), "so few writes cannot be all")
				}
				if failure == nil {
					g.Expect(s.Unreadable).To(BeZero())
					g.Expect(s.Files).To(BeEquivalentTo(200))
				} else {
					g.Expect(hit.Load()).NotTo(BeZero(), "%v", failure)
				}

				e = enginetest.Open(t, kopia.Driver{}, r)
				l, err := e.FindByTags(ctx, tags)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(len(l)).To(BeNumerically("<=", 1))
				if failure == nil {
					g.Expect(l).To(HaveLen(1))
					g.Expect(l[0].ID).To(Equal(s.ID))
				}
				for _, x := range append(l, other) {
					_, err := e.Verify(ctx, x.ID, 100)
					g.Expect(err).NotTo(HaveOccurred(), "reported was %v", failure)
				}
				_, err = e.Backup(ctx, source, repository.BackupOptions{})
				g.Expect(err).NotTo(HaveOccurred(), "the next backup")
			})
		}
	}
}
