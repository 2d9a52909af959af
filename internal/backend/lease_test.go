package backend_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
)

func lease(ctx context.Context, s backend.Store, owned func(context.Context) (bool, error)) (
	context.Context, *backend.Lease, error,
) {
	return backend.TakeLease(ctx, s, "web",
		backend.LeaseOptions{Now: time.Now, Renew: 200 * time.Millisecond, Owned: owned})
}

// frozen is a store whose holder was stopped, or cut off from the storage.
type frozen struct {
	backend.Store
	off atomic.Bool
}

func (f *frozen) List(ctx context.Context, directory string) ([]string, error) {
	if f.off.Load() {
		return nil, &repository.Error{Op: "list", Kind: repository.ErrUnreachable, Err: context.DeadlineExceeded}
	}
	return f.Store.List(ctx, directory)
}

func TestALeaseHasOneHolder(t *testing.T) {
	t.Parallel()
	s3 := enginetest.StartS3(t)
	for name, storage := range map[string]repository.Storage{
		"S3":    {S3: &s3},
		"local": {Local: &repository.Local{Path: t.TempDir()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			store, err := backend.Open(storage)
			g.Expect(err).NotTo(HaveOccurred())
			files := func() []string {
				out, err := store.List(ctx, layout.KeeperPath("web"))
				g.Expect(err).NotTo(HaveOccurred())
				return out
			}
			f := &frozen{Store: store}
			held, first, err := lease(ctx, f, nil)
			g.Expect(err).NotTo(HaveOccurred())
			_, _, err = lease(ctx, store, nil)
			g.Expect(err).To(MatchError(backend.ErrHeld), "the first one renews it")
			g.Expect(held.Err()).NotTo(HaveOccurred())

			f.off.Store(true)
			var next context.Context
			var second *backend.Lease
			g.Eventually(func() (err error) { // a last renewal can be under way
				next, second, err = lease(ctx, store, nil)
				return err
			}).WithTimeout(10*time.Second).Should(Succeed(), "nobody renews it")
			g.Expect(held.Err()).To(HaveOccurred(), "the first one stopped before the second one began")
			f.off.Store(false)
			g.Expect(first.Check(ctx)).To(MatchError(backend.ErrHeld))
			g.Expect(first.Release(ctx)).To(Succeed())
			g.Expect(second.Check(ctx)).To(Succeed(), "the first one gives back only what it has")
			g.Expect(next.Err()).NotTo(HaveOccurred())
			g.Expect(len(files())).To(BeElementOf(1, 2), "the last renewal and the one before")
			g.Expect(second.Release(ctx)).To(Succeed())
			g.Expect(files()).To(BeEmpty())
			g.Expect(next.Err()).To(HaveOccurred())

			var other atomic.Bool
			held, third, err := lease(ctx, store, func(context.Context) (bool, error) { return !other.Load(), nil })
			g.Expect(err).NotTo(HaveOccurred())
			other.Store(true)
			g.Eventually(held.Done()).WithTimeout(10*time.Second).Should(BeClosed(), "the repository was adopted")
			g.Expect(context.Cause(held)).To(MatchError(backend.ErrNotOwner))
			g.Expect(third.Release(ctx)).To(Succeed())
		})
	}
}

// seen is a store that calls empty once, after a keeper has seen a directory without a lease.
type seen struct {
	backend.Store
	once  sync.Once
	empty func()
}

func (s *seen) List(ctx context.Context, directory string) ([]string, error) {
	files, err := s.Store.List(ctx, directory)
	if err == nil && len(files) == 0 {
		s.once.Do(s.empty)
	}
	return files, err
}

func TestOfTwoWhoSeeARelease(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	store, err := backend.Open(repository.Storage{Local: &repository.Local{Path: t.TempDir()}})
	g.Expect(err).NotTo(HaveOccurred())
	_, first, err := lease(ctx, store, nil)
	g.Expect(err).NotTo(HaveOccurred())

	var newcomer *backend.Lease
	waits := &seen{Store: store, empty: func() {
		var err error
		_, newcomer, err = lease(ctx, store, nil)
		g.Expect(err).NotTo(HaveOccurred())
	}}
	ended := make(chan error, 1)
	listed := make(chan struct{}, 1)
	go func() {
		_, _, err := lease(ctx, &announced{Store: waits, listed: listed}, nil)
		ended <- err
	}()
	g.Eventually(listed).Should(Receive(), "the second one watches the first one")
	g.Expect(first.Release(ctx)).To(Succeed())
	g.Eventually(ended).WithTimeout(10*time.Second).Should(Receive(MatchError(backend.ErrHeld)),
		"a newcomer took the lease before the second one could")
	g.Expect(newcomer.Check(ctx)).To(Succeed())
	g.Expect(newcomer.Release(ctx)).To(Succeed())
}

// announced is a store that announces each list.
type announced struct {
	backend.Store
	listed chan struct{}
}

func (a *announced) List(ctx context.Context, directory string) ([]string, error) {
	files, err := a.Store.List(ctx, directory)
	select {
	case a.listed <- struct{}{}:
	default:
	}
	return files, err
}
