package backend

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
)

// Errors of a lease.
var (
	// ErrHeld means that another keeper holds the lease of a repository.
	ErrHeld = errors.New("another keeper works in the repository")
	// ErrNotOwner means that the repository has another owner since the lease was taken.
	ErrNotOwner = errors.New("the repository has another owner")
)

// defaultRenew is how often a keeper renews its lease.
const defaultRenew = 20 * time.Second

// A holder whose lease was not renewed for loseAfter renewals gives up. Others take a lease that was not renewed for
// takeAfter renewals, which they watch themselves: the clocks of two machines need not agree.
const (
	loseAfter = 3
	takeAfter = 6
)

// Lease lets one keeper at a time work in a repository, also if the cluster has lost sight of one that still runs. It
// holds as far as the storage lets only one of several writers create a file (Store.PutIfAbsent).
//
// Each renewal is a new file with the next number, and the one before it stays until the next renewal: some servers
// show no file for a moment while they replace it.
//
// A Lease is safe for concurrent use.
type Lease struct {
	store     Store
	directory string
	now       func() time.Time
	renew     time.Duration
	owned     func(context.Context) (bool, error)
	cancel    context.CancelCauseFunc
	stopped   chan struct{}

	mu     sync.Mutex
	number int64
	lease  layout.KeeperLease
}

// LeaseOptions say how to hold a lease.
type LeaseOptions struct {
	// Now is the clock of what the lease says about itself.
	Now func() time.Time
	// Renew is how often the lease is renewed; 0 means every 20 seconds.
	Renew time.Duration
	// Owned reports whether the repository still has the same owner. Otherwise the lease is lost.
	Owned func(context.Context) (bool, error)
}

// TakeLease takes the lease of the repository in a directory, or fails with ErrHeld. The returned context ends when the
// lease is lost; its cause says why. The caller must call Release.
func TakeLease(
	ctx context.Context, s Store, directory string, o LeaseOptions,
) (context.Context, *Lease, error) {
	l := &Lease{
		store: s, directory: directory, now: o.Now, owned: o.Owned, renew: cmp.Or(o.Renew, defaultRenew),
		lease: layout.KeeperLease{Holder: rand.Text()}, stopped: make(chan struct{}),
	}
	last, err := l.last(ctx)
	if err != nil {
		return ctx, nil, err
	}
	if last > 0 {
		if last, err = l.watch(ctx, last); err != nil {
			return ctx, nil, err
		}
	}
	l.number = last
	if err := l.advance(ctx); err != nil {
		return ctx, nil, err
	}
	ctx, l.cancel = context.WithCancelCause(ctx)
	go l.keep(ctx)
	return ctx, l, nil
}

func (l *Lease) path(number int64) string { return layout.KeeperLeasePath(l.directory, number) }

// advance takes the next number, and drops the files that nobody needs any more.
func (l *Lease) advance(ctx context.Context) error {
	l.lease.Renewed = l.now().Truncate(time.Second)
	text, err := l.lease.Marshal()
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	err = l.store.PutIfAbsent(ctx, l.path(l.number+1), text)
	if errors.Is(err, ErrExists) { // by another, or by a first try whose answer was lost
		err = l.held(ctx, l.number+1)
	}
	if err != nil {
		return err
	}
	l.number++
	return l.drop(ctx, l.number-1)
}

// last returns the highest number; 0 means that nobody holds the lease.
func (l *Lease) last(ctx context.Context) (number int64, _ error) {
	files, err := l.store.List(ctx, layout.KeeperPath(l.directory))
	for _, file := range files {
		if n, ok := layout.ParseKeeperLeasePath(l.directory, file); ok {
			number = max(number, n)
		}
	}
	return number, err
}

// watch returns the number of a lease that nobody renews, and ErrHeld if somebody does. 0 means that it was released:
// all who want it then take the same next number, of which one gets it.
func (l *Lease) watch(ctx context.Context, number int64) (int64, error) {
	for range takeAfter {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(l.renew):
		}
		switch now, err := l.last(ctx); {
		case err != nil || now == 0:
			return 0, err
		case now != number:
			return 0, ErrHeld
		}
	}
	return number, nil
}

// drop removes the files with lower numbers, oldest first.
func (l *Lease) drop(ctx context.Context, below int64) error {
	files, err := l.store.List(ctx, layout.KeeperPath(l.directory))
	if err != nil {
		return err
	}
	for _, file := range files {
		if n, ok := layout.ParseKeeperLeasePath(l.directory, file); ok && n < below {
			if err := l.store.Delete(ctx, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep renews the lease until its context ends. It ends the context if the lease was taken by another, or can't be
// renewed for a while.
func (l *Lease) keep(ctx context.Context) {
	defer close(l.stopped)
	late := time.AfterFunc(loseAfter*l.renew, func() {
		l.cancel(&repository.Error{
			Op: "renew lease", Kind: repository.ErrUnreachable,
			Err: fmt.Errorf("no renewal within %v", loseAfter*l.renew),
		})
	})
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.renew):
		}
		switch err := l.Check(ctx); {
		case err == nil:
			late.Reset(loseAfter * l.renew)
		case errors.Is(err, ErrHeld), errors.Is(err, ErrNotOwner):
			l.cancel(err)
			return
		}
	}
}

// held returns nil if this keeper wrote the file with a number, and that is the highest one.
func (l *Lease) held(ctx context.Context, number int64) error {
	last, err := l.last(ctx)
	if err != nil {
		return err
	}
	if last != number {
		return ErrHeld
	}
	text, err := l.store.Get(ctx, l.path(number))
	if errors.Is(err, ErrNotFound) {
		return ErrHeld
	}
	if err != nil {
		return err
	}
	if lease, err := layout.ParseKeeperLease(text); err != nil || lease.Holder != l.lease.Holder {
		return ErrHeld
	}
	return nil
}

// Check renews the lease. It fails with ErrHeld if another keeper has taken it, and with ErrNotOwner if the repository
// has another owner.
func (l *Lease) Check(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.held(ctx, l.number); err != nil {
		return err
	}
	if l.owned != nil {
		if owned, err := l.owned(ctx); err != nil {
			return err
		} else if !owned {
			return ErrNotOwner
		}
	}
	return l.advance(ctx)
}

// Release gives the lease back, unless another keeper has it.
func (l *Lease) Release(ctx context.Context) error {
	l.cancel(nil)
	<-l.stopped
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.held(ctx, l.number)
	if errors.Is(err, ErrHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.drop(ctx, l.number+1)
}
