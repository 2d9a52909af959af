package kopia

import (
	"context"
	"errors"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Owner returns who maintained the repository when the engine last read its index.
func (e *repoEngine) Owner(ctx context.Context) (string, error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	p, err := maintenance.GetParams(ctx, e.rep)
	if err != nil {
		return "", classify("read owner", cause(ctx, err))
	}
	return p.Owner, nil
}

// params reads kopia's parameters of maintenance as the storage has them now.
func (e *repoEngine) params(ctx context.Context) (*maintenance.Params, error) {
	if err := e.rep.Refresh(ctx); err != nil {
		return nil, err
	}
	return maintenance.GetParams(ctx, e.rep)
}

// TakeOwnership writes this connection's owner into kopia's parameters of maintenance, and keeps the others.
func (e *repoEngine) TakeOwnership(ctx context.Context) error {
	ctx, stop := e.ctx(ctx)
	defer stop()
	if e.owner == "" {
		return errors.New("take ownership: the connection names no owner")
	}
	p, err := e.params(ctx)
	if err != nil || p.Owner == e.owner {
		return classify("take ownership", cause(ctx, err))
	}
	p.Owner = e.owner
	return classify("take ownership",
		cause(ctx, repo.WriteSession(ctx, e.rep, repo.WriteSessionOptions{Purpose: "take ownership"},
			func(ctx context.Context, w repo.RepositoryWriter) error {
				return maintenance.SetParams(ctx, w, p)
			})))
}

// Maintain keeps kopia's safety windows, so it never removes what a concurrent backup needs: contents live for 24 h
// and are dropped only after two collections that are 4 h apart; blobs live for 24 h. Without these windows a
// running backup loses its data, so there is no option to skip them.
func (e *repoEngine) Maintain(ctx context.Context, opt repository.MaintainOptions) error {
	ctx, stop := e.ctx(ctx)
	defer stop()
	// Otherwise kopia asks an old view of the repository who the owner is.
	if err := e.rep.Refresh(ctx); err != nil {
		return classify("maintain", cause(ctx, err))
	}
	rep := e.rep
	var held error
	if s, ok := e.rep.(*surviving); ok {
		var err error
		if held, err = e.forget(ctx, s, opt.Needed); err != nil {
			return classify("maintain", cause(ctx, err))
		}
		if held == nil {
			rep = s.DirectRepository
		}
	}
	if held != nil {
		return classify("maintain", cause(ctx, firstError(held, e.quick(ctx, rep))))
	}
	return classify("maintain", cause(ctx, e.maintainWhole(ctx, rep, opt)))
}

// maintainWhole maintains a repository of which no snapshot is lost. Where no backup fits any more, each maintenance is
// a full one: it is the only one that makes room. The quick one comes first, because the other can fail for long, and
// meanwhile the index must not grow without end.
func (e *repoEngine) maintainWhole(
	ctx context.Context, rep repo.DirectRepository, opt repository.MaintainOptions,
) error {
	err := e.quick(ctx, rep)
	r, unknown := roomOf(ctx, rep)
	if unknown != nil {
		return firstError(err, unknown)
	}
	if opt.Full || r.scarce() {
		// A full storage can lack the room for a new index until something is deleted. This one writes it, too.
		if err = e.collect(ctx, rep, r); err != nil && damage(err) {
			err = nameBack(ctx, rep, err, opt.Needed)
		}
	}
	if errors.Is(classify("maintain", err), repository.ErrStorageFull) {
		_ = rememberFull(ctx, rep) // without the note, the next move fails in the same way
	}
	return err
}

// quick runs kopia's quick maintenance. It deletes no data.
func (e *repoEngine) quick(ctx context.Context, rep repo.DirectRepository) error {
	return e.maintain(ctx, rep, maintenance.ModeQuick, e.safety)
}

// maintain runs kopia's maintenance. Its lock is a file beside the connection file and works only within one machine,
// so the caller holds a lease. Without it two full maintenances lose no data (TestTwoMaintenancesAtOnceLoseNothing),
// but one can delete a pack whose contents the other has just moved, and a reader with an older index then fails. The
// owner check stops kopia's own program from running maintenance.
func (e *repoEngine) maintain(
	ctx context.Context, rep repo.DirectRepository, mode maintenance.Mode, safety maintenance.SafetyParameters,
) error {
	return repo.DirectWriteSession(ctx, rep, repo.WriteSessionOptions{Purpose: "maintain"},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			return snapshotmaintenance.Run(ctx, w, mode, false, safety)
		})
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
