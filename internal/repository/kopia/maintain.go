package kopia

import (
	"context"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Maintain keeps kopia's safety windows, so it never removes what a concurrent backup needs: contents live for 24 h
// and are dropped only after two collections that are 4 h apart; blobs live for 24 h. Without these windows a
// running backup loses its data, so there is no option to skip them.
func (e *repoEngine) Maintain(ctx context.Context, opt repository.MaintainOptions) error {
	ctx, stop := e.ctx(ctx)
	defer stop()
	mode := maintenance.ModeQuick
	if opt.Full {
		mode = maintenance.ModeFull
	}
	// kopia's lock is a file beside the connection file and works only within one machine, so the caller holds a lease.
	// The owner check stops kopia's own program from running maintenance.
	return classify("maintain",
		cause(ctx, repo.DirectWriteSession(ctx, e.rep, repo.WriteSessionOptions{Purpose: "maintain"},
			func(ctx context.Context, w repo.DirectRepositoryWriter) error {
				return snapshotmaintenance.Run(ctx, w, mode, false, e.safety)
			})))
}

// Usage returns the total size of all blobs. It lists them and reads none.
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
