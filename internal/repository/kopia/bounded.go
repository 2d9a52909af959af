package kopia

import (
	"context"
	"fmt"
	"time"

	"github.com/kopia/kopia/repo/blob"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/cloud"
)

// answerWithin limits one request together with the retries of the client. A line of 0.3 Mbit/s transfers a pack of
// 20 MiB in that time. A server that never answers must not hold a backup until its deadline.
const answerWithin = 10 * time.Minute

// bounded limits the time of each request and the number of requests at a time.
type bounded struct {
	blob.Storage
	within time.Duration
	slots  chan struct{} // nil means no limit
}

func newBounded(st blob.Storage, within time.Duration, connections int) blob.Storage {
	b := &bounded{Storage: st, within: within}
	if connections > 0 {
		b.slots = make(chan struct{}, connections)
	}
	return b
}

// GetBlob implements blob.Storage.
func (b *bounded) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	return b.do(ctx, func(ctx context.Context) error { return b.Storage.GetBlob(ctx, id, offset, length, out) })
}

// GetMetadata implements blob.Storage.
func (b *bounded) GetMetadata(ctx context.Context, id blob.ID) (m blob.Metadata, _ error) {
	return m, b.do(ctx, func(ctx context.Context) (err error) {
		m, err = b.Storage.GetMetadata(ctx, id)
		return err
	})
}

// PutBlob implements blob.Storage.
func (b *bounded) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opts blob.PutOptions) error {
	return b.do(ctx, func(ctx context.Context) error { return b.Storage.PutBlob(ctx, id, data, opts) })
}

// GetCapacity implements blob.Storage.
func (b *bounded) GetCapacity(ctx context.Context) (c blob.Capacity, _ error) {
	return c, b.do(ctx, func(ctx context.Context) (err error) {
		c, err = b.Storage.GetCapacity(ctx)
		return err
	})
}

// DeleteBlob implements blob.Storage.
func (b *bounded) DeleteBlob(ctx context.Context, id blob.ID) error {
	return b.do(ctx, func(ctx context.Context) error { return b.Storage.DeleteBlob(ctx, id) })
}

// ListBlobs implements blob.Storage. The time starts anew with each blob. A listing takes no slot, because each may
// need one.
func (b *bounded) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := silent(b.within)
	timer := time.AfterFunc(b.within, func() { cancel(silence) })
	defer timer.Stop()
	err := b.Storage.ListBlobs(inner, prefix, func(m blob.Metadata) error {
		timer.Stop()
		defer timer.Reset(b.within)
		return each(m)
	})
	return because(ctx, inner, wordless(err), silence)
}

func (b *bounded) do(ctx context.Context, request func(context.Context) error) error {
	if b.slots != nil {
		select {
		case b.slots <- struct{}{}:
			defer func() { <-b.slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	silence := silent(b.within)
	inner, cancel := context.WithTimeoutCause(ctx, b.within, silence)
	defer cancel()
	return because(ctx, inner, wordless(request(inner)), silence)
}

// wordless returns an error without what the server said, before kopia logs it.
func wordless(err error) error {
	if named := cloud.Classify("ask the storage", err); named != nil {
		return named
	}
	return err
}

// silent returns the error for a storage that did not answer.
func silent(within time.Duration) error {
	return &repository.Error{
		Op: "reach storage", Kind: repository.ErrUnreachable, Err: fmt.Errorf("no answer within %v", within),
	}
}

// because returns silence where the time limit ended the request, and err where the caller did.
func because(caller, inner context.Context, err, silence error) error {
	if err != nil && caller.Err() == nil && context.Cause(inner) == silence {
		return silence
	}
	return err
}
