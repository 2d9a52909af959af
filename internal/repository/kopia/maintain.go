package kopia

import (
	"context"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Maintain with kopia's safety windows never removes what a concurrent backup may need, whatever runs when:
// contents live 24 h, are dropped only after two collections 4 h apart, blobs 24 h. Without these windows a
// writer at work loses its data, so there is no option to drop them.
func (e *repoEngine) Maintain(ctx context.Context, opt repository.MaintainOptions) error {
	ctx, stop := e.ctx(ctx)
	defer stop()
	mode := maintenance.ModeQuick
	if opt.Full {
		mode = maintenance.ModeFull
	}
	// kopia's lock is a file beside the connection file, thus only good within one machine: the caller holds
	// a lease. The owner check keeps kopia's own program from running it by itself.
	return classify("maintain", cause(ctx, repo.DirectWriteSession(ctx, e.rep, repo.WriteSessionOptions{Purpose: "maintain"}, func(ctx context.Context, w repo.DirectRepositoryWriter) error {
		return snapshotmaintenance.Run(ctx, w, mode, false, e.safety)
	})))
}

// Usage adds up the sizes of all blobs: a listing, without reading any.
func (e *repoEngine) Usage(ctx context.Context) (int64, error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	var total int64
	err := e.rep.BlobReader().ListBlobs(ctx, "", func(m blob.Metadata) error {
		total += m.Length
		return nil
	})
	return total, classify("list", cause(ctx, err))
}
