package kopia

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/text"
)

// Verify walks the snapshot, checks that the pack of every content exists and is long enough, and reads percent % of
// the files.
func (e *repoEngine) Verify(ctx context.Context, id string, percent float64) (repository.VerifyResult, error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	defer e.packs.begin()()
	var res repository.VerifyResult
	root, _, err := e.root(ctx, id)
	if err != nil {
		return res, classify("verify", cause(ctx, err))
	}
	blobs, err := blob.ReadBlobMap(ctx, e.rep.BlobReader())
	if err != nil {
		return res, classify("verify", cause(ctx, err))
	}
	r, err := e.walk(ctx, blobs, percent, root)
	res.Objects, res.FilesRead, res.BytesRead = r.Stats.ProcessedObjectCount, r.Stats.ReadFileCount, r.Stats.ReadBytes
	for _, problem := range r.Errors {
		e.saw(id, problem)
		res.Problems = append(res.Problems, repository.Problem{Err: classify("verify", problem)})
	}
	if len(res.Problems) > 0 {
		return res,
			&repository.Error{
				Op: "verify", Kind: repository.ErrCorrupt,
				Err: fmt.Errorf("%s, first: %w", text.Quantity(r.ErrorCount, "problem"), r.Errors[0]),
			}
	}
	return res, classify("verify", cause(ctx, err))
}

// walk verifies the trees below some roots. Subtrees that they share are verified once.
func (e *repoEngine) walk(
	ctx context.Context, blobs map[blob.ID]blob.Metadata, percent float64, roots ...fs.Entry,
) (snapshotfs.VerifierResult, error) {
	v := snapshotfs.NewVerifier(ctx, measured{e.rep, blobs},
		snapshotfs.VerifierOptions{
			VerifyFilesPercent: percent, Parallelism: defaultParallel, FileQueueLength: 1000, MaxErrors: maxProblems,
			BlobMap: blobs,
		})
	return v.InParallel(ctx, func(tw *snapshotfs.TreeWalker) error {
		for _, root := range roots {
			// Process returns what the walk has found so far, which the result has. From the second problem on it
			// returns only their number, and then nobody knows what they were.
			if err := tw.Process(ctx, root, "."); err != nil {
				if _, found := tw.GetErrors(); found == 0 {
					return err
				}
			}
		}
		return nil
	})
}

// measured is a repository that knows how long its packs are. kopia's verifier asks only whether a pack exists.
type measured struct {
	repo.Repository
	blobs map[blob.ID]blob.Metadata
}

// ContentInfo implements repo.Repository. The verifier itself finds out that a pack is gone.
func (m measured) ContentInfo(ctx context.Context, id content.ID) (content.Info, error) {
	info, err := m.Repository.ContentInfo(ctx, id)
	if err != nil {
		return info, err
	}
	if pack, ok := m.blobs[info.PackBlobID]; ok && cutOff(info, pack.Length) {
		return info, fmt.Errorf("blob %v is cut off: it has %d bytes, but the content ends at %d",
			info.PackBlobID, pack.Length, endOf(info))
	}
	return info, nil
}

// Check walks all snapshots together, so that it walks shared subtrees once. Only where it finds damage it walks each
// snapshot by itself. A repository that can't be written to now is checked all the same.
func (e *repoEngine) Check(ctx context.Context, ids []string) ([]string, error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	defer e.packs.begin()()
	err := e.rep.Refresh(ctx)
	if err == nil {
		err = readManifests(ctx, e.rep) // if they can't be read now, that says nothing of any snapshot
	}
	if err != nil {
		return nil, classify("check", cause(ctx, err))
	}
	began, bad := e.rep.Time(), map[string]bool{}
	roots := make([]fs.Entry, len(ids))
	for i, id := range ids {
		root, _, err := e.load(ctx, id)
		if err != nil && !damage(err) {
			return nil, classify("check", cause(ctx, err))
		}
		roots[i], bad[id] = root, err != nil
	}
	blobs, err := blob.ReadBlobMap(ctx, e.rep.BlobReader())
	if err != nil {
		return nil, classify("check", cause(ctx, err))
	}
	present := slices.DeleteFunc(slices.Clone(roots), func(e fs.Entry) bool { return e == nil })
	whole, err := e.whole(ctx, blobs, present...)
	if err != nil {
		return nil, err
	}
	var damaged []string
	for i, id := range ids {
		if !bad[id] && !whole {
			if e.step != nil {
				e.step()
			}
			one, err := e.whole(ctx, blobs, roots[i])
			switch {
			case err != nil && ctx.Err() != nil && i > 0:
				e.tellDamage(ctx, ids[:i], damaged, began)
				return damaged, &repository.CheckedPart{Count: i, Err: err}
			case err != nil:
				return nil, err
			}
			bad[id] = !one
		}
		if bad[id] {
			damaged = append(damaged, id)
		}
	}
	e.tellDamage(ctx, ids, damaged, began)
	return damaged, nil
}

// tellDamage tells the backups to come of what a check found, also if the check had no more time.
func (e *repoEngine) tellDamage(ctx context.Context, checked, damaged []string, began time.Time) {
	if len(damaged) == 0 {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer stop()
	if err := e.doubt(ctx, checked, damaged, began, false); err != nil && e.log != nil {
		e.log("warn", "check", "the next backups can take data from damaged snapshots: "+classify("check", err).Error())
	}
}

// whole reports whether nothing is missing below the roots. It returns an error where it cannot find out: damage that
// was found counts, whatever else could not be looked at.
func (e *repoEngine) whole(ctx context.Context, blobs map[blob.ID]blob.Metadata, roots ...fs.Entry) (bool, error) {
	r, err := e.walk(ctx, blobs, 0, roots...)
	if ctx.Err() != nil {
		return false, classify("check", cause(ctx, ctx.Err()))
	}
	if slices.ContainsFunc(r.Errors, damage) {
		return false, nil
	}
	if len(r.Errors) > 0 {
		err = r.Errors[0]
	}
	return err == nil, classify("check", err)
}

// damage reports whether an error means that data is damaged or missing. An error that may pass is not damage.
func damage(err error) bool {
	err = classify("check", err)
	return errors.Is(err, repository.ErrCorrupt) || errors.Is(err, repository.ErrNotFound)
}

// root loads a snapshot, also a snapshot that was made after Open.
func (e *repoEngine) root(ctx context.Context, id string) (fs.Entry, *snapshot.Manifest, error) {
	if err := e.rep.Refresh(ctx); err != nil { // see what other writers did since Open
		return nil, nil, err
	}
	return e.load(ctx, id)
}

// load loads a snapshot that existed at the last refresh.
func (e *repoEngine) load(ctx context.Context, id string) (fs.Entry, *snapshot.Manifest, error) {
	man, err := snapshot.LoadSnapshot(ctx, e.rep, manifest.ID(id))
	if s, ok := e.rep.(*surviving); ok && errors.Is(err, snapshot.ErrSnapshotNotFound) {
		err = &repository.Error{
			Op: "open snapshot", Kind: repository.ErrCorrupt, Err: fmt.Errorf("%w: %s", err, s.lost),
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if man.IncompleteReason != "" {
		return nil, nil,
			&repository.Error{
				Op: "open snapshot", Kind: repository.ErrNotFound,
				Err: fmt.Errorf("snapshot %s was never finished: %s", id, man.IncompleteReason),
			}
	}
	root, err := snapshotfs.SnapshotRoot(e.rep, man)
	return root, man, err
}
