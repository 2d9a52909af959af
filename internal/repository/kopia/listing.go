package kopia

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kopia/kopia/repo/blob"

	"github.com/cairn-backup/cairn/internal/repository"
)

// listPatience is how long a storage may refuse to list blobs.
const listPatience = time.Minute

// listWatch ends listings that fail for too long. kopia repeats a failing listing until its context is canceled, so a
// backup would never end with a credential that is not allowed to list, or with a storage that goes away.
type listWatch struct {
	blob.Storage
	patience time.Duration
	now      func() time.Time
	giveUp   func(error)
	mu       sync.Mutex
	since    time.Time // the first of the failures in a row
}

// ListBlobs implements blob.Storage. kopia calls it again after an error; giveUp cancels it.
func (l *listWatch) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	var ours error
	err := l.Storage.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
		ours = each(m)
		return ours
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil || ours != nil:
		l.since = time.Time{}
		return err
	case ctx.Err() != nil:
		return err
	case l.since.IsZero():
		l.since = l.now()
	}
	if hopeless(err) || l.now().Sub(l.since) >= l.patience {
		l.giveUp(err)
	}
	return err
}

// hopeless reports whether repeating the request cannot help.
func hopeless(err error) bool {
	kind := kindOf(err)
	for _, k := range []error{repository.ErrAccessDenied, repository.ErrBadCredentials, repository.ErrNoBucket} {
		if errors.Is(kind, k) {
			return true
		}
	}
	return false
}

// cause returns why the engine canceled ctx, or err where the engine did not cancel it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); err != nil && c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	return err
}
