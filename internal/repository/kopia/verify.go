package kopia

import (
	"context"
	"fmt"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Verify walks the snapshot, checks that the pack of every content exists, and reads percent % of the files.
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
	v := snapshotfs.NewVerifier(ctx, e.rep, snapshotfs.VerifierOptions{VerifyFilesPercent: percent, Parallelism: defaultParallel, FileQueueLength: 1000, MaxErrors: maxProblems, BlobMap: blobs})
	r, err := v.InParallel(ctx, func(tw *snapshotfs.TreeWalker) error { return tw.Process(ctx, root, ".") })
	res.Objects, res.FilesRead, res.BytesRead = r.Stats.ProcessedObjectCount, r.Stats.ReadFileCount, r.Stats.ReadBytes
	for _, e := range r.Errors {
		res.Problems = append(res.Problems, repository.Problem{Err: classify("verify", e)})
	}
	if len(res.Problems) > 0 {
		return res, &repository.Error{Op: "verify", Kind: repository.ErrCorrupt, Err: fmt.Errorf("%d problems, first: %w", r.ErrorCount, r.Errors[0])}
	}
	return res, classify("verify", cause(ctx, err))
}

// root loads a snapshot, also one made after Open.
func (e *repoEngine) root(ctx context.Context, id string) (fs.Entry, *snapshot.Manifest, error) {
	if err := e.rep.Refresh(ctx); err != nil { // see what other writers did since Open
		return nil, nil, err
	}
	man, err := snapshot.LoadSnapshot(ctx, e.rep, manifest.ID(id))
	if err != nil {
		return nil, nil, err
	}
	if man.IncompleteReason != "" {
		return nil, nil, &repository.Error{Op: "open snapshot", Kind: repository.ErrNotFound, Err: fmt.Errorf("what has this id was never finished: %s", man.IncompleteReason)}
	}
	root, err := snapshotfs.SnapshotRoot(e.rep, man)
	return root, man, err
}
