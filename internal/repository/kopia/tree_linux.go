package kopia

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/policy"
	"github.com/kopia/kopia/snapshot/upload"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/text"
)

// tree stores a directory. ctx is the context of the caller. kctx outlives it by cancelGrace, so that a canceled
// backup can still save what it has.
func (b *backup) tree(ctx, kctx context.Context, w repo.RepositoryWriter) (*snapshot.Manifest, details, error) {
	start := w.Time().UTC()
	previous, doubted, err := previousManifests(kctx, w, b.src.Name)
	if err != nil {
		return nil, details{}, err
	}
	if doubted {
		b.lost.read.start()
	}
	previous = b.trusted(previous)
	b.continued = previous
	b.unchecked = uncheckedSince(start, previous)
	// A flush can heal the directory that was rotten: nobody would meet it again if this run was killed.
	doubt := func(ctx context.Context) error { return b.doubtNext(ctx, w, nil) }
	out := &stampWriter{RepositoryWriter: w, before: doubt}
	u := b.uploader(out)
	kctx, hardStop := context.WithCancel(kctx)
	defer hardStop()
	defer context.AfterFunc(ctx, func() {
		u.Cancel()
		time.AfterFunc(cancelGrace, hardStop)
	})()

	stopFlushing := b.flushByCount(kctx, w, u)
	man, wk, err := b.upload(ctx, kctx, u, out, previous)
	out.end()
	err = firstError(stopFlushing(), err)
	if failed := b.progress.storage.Load(); failed != nil {
		return nil, details{}, *failed
	}
	if err != nil {
		if errors.As(err, new(*sourceError)) || bareErrno(err) { // Upload reduces an error of the root to its errno
			err = &repository.Error{Op: "backup", Kind: repository.ErrSource, Err: err}
		}
		return nil, details{}, err
	}
	if err := b.treeStillThere(kctx, w, man); err != nil {
		return nil, details{}, err
	}
	b.tellOfRestores(wk)
	b.tellOfUnrest(wk)
	d := b.count(man, wk)
	switch err := b.verdict(ctx, man, d); {
	case err == nil:
		return man, d, nil
	case man.IncompleteReason == "":
		return man, d, b.keepForNext(kctx, w, man, reasonUnreadable, err)
	default:
		// An incomplete manifest is no restore point, but the next run skips the files that it lists.
		if _, err2 := snapshot.SaveSnapshot(kctx, w, man); err2 != nil {
			err = errors.Join(err, err2)
		}
		man.ID = ""
		return man, d, err
	}
}

const (
	// maxPasses is how often a tree is read at most.
	maxPasses = 3
	// maxReadAgain limits the bytes of possibly torn files that are read again where AllowChanged accepts such files.
	maxReadAgain = 1 << 30
)

// upload reads the tree, and then again while files change during the pass, or may have moved. A later pass opens only
// files that changed since, and those that were written to while they were read.
func (b *backup) upload(
	ctx, kctx context.Context, u *upload.Uploader, w *stampWriter, previous []*snapshot.Manifest,
) (*snapshot.Manifest, *walk, error) {
	var passes []*passed
	for {
		wk, root, err := b.walk(w, len(passes) > 0)
		if err != nil {
			return nil, nil, &repository.Error{Op: "backup", Kind: repository.ErrSource, Err: err}
		}
		root.previous = rootsOf(previous)
		man, err := u.Upload(kctx, root, b.policy(), source(b.src.Name))
		if err != nil {
			return nil, nil, err
		}
		man.Tags = b.unfinishedLabels()
		b.passes = append(b.passes, man.StartTime)
		wk.addUnchanged(&man.Stats)
		if len(passes) > 0 {
			man.StartTime = passes[0].man.StartTime
		}
		switch {
		case b.progress.storage.Load() != nil || man.IncompleteReason != "" && (ctx.Err() == nil || len(passes) == 0):
			return man, wk, nil
		case man.IncompleteReason == "": // else it was canceled, and what earlier passes read is whole
			last := len(passes)+1 == b.e.passes || b.opt.AllowChanged
			passes = append(passes, &passed{man, wk, b.progress.found(), wk.stirred(ctx, b.src.Dir, last)})
			wk.listed = nil
		}
		if b.done(ctx, passes) {
			best, err := b.best(kctx, w.RepositoryWriter, passes)
			return best.man, best.walk, err
		}
		previous = []*snapshot.Manifest{man}
		b.progress.readAgain()
	}
}

// done reports whether no pass follows. None can follow a cancellation.
func (b *backup) done(ctx context.Context, passes []*passed) bool {
	last := passes[len(passes)-1]
	whole := slices.ContainsFunc(passes[:len(passes)-1], (*passed).whole)
	switch {
	case len(passes) == b.e.passes || ctx.Err() != nil:
		return true
	case b.opt.AllowChanged && (whole || last.walk.torn.Load() > b.e.readAgain):
		return true // Another pass would read big files again.
	case !last.whole():
		return false
	}
	return !last.restless()
}

// walk returns the walk of a pass.
func (b *backup) walk(w *stampWriter, again bool) (*walk, *dirNode, error) {
	wk, root, err := newWalk(b.src.Dir, b.opt, b.e.lstat)
	if err != nil {
		return nil, nil, err
	}
	wk.again, wk.now, wk.fstat, wk.progress = again, b.e.fileTime, b.e.fstat, b.progress
	wk.fstatNow, wk.dirtyFor, wk.skew = b.e.fstatNow, b.e.dirtyFor, max(wk.skew, b.e.skew)
	wk.partSize = b.e.partSize
	wk.rep, w.walk, wk.lost, wk.unread = w, wk, b.lost, b.unread
	if !again {
		b.first = wk
	}
	if len(b.opt.Exclude) > 0 {
		wk.exclude = &b.exclude
	}
	if b.opt.CopiedAt.IsZero() {
		wk.listed = &listedDirs{}
	}
	return wk, root, nil
}

func (b *backup) uploader(w repo.RepositoryWriter) *upload.Uploader {
	u := upload.NewUploader(w)
	u.Progress = b.progress
	u.EnableActions = false     // policies in the repository could name programs to run
	u.DisableIgnoreRules = true // walk leaves out what the user excluded
	u.ParallelUploads = cmp.Or(b.opt.Parallel, defaultParallel)
	u.CheckpointInterval = min(cmp.Or(b.opt.CheckpointEvery, defaultCheckpoint), upload.DefaultCheckpointInterval)
	quiet := policy.LogDetail(0)
	u.OverrideDirLogDetail, u.OverrideEntryLogDetail = &quiet, &quiet
	u.CheckpointLabels = b.unfinishedLabels()
	b.progress.cancel = u.Cancel
	return u
}

// count returns the counts without the attribute files, which are not files of the user.
func (b *backup) count(man *snapshot.Manifest, wk *walk) details {
	for _, p := range wk.problems {
		b.progress.addProblem(p)
	}
	for _, rel := range slices.Sorted(maps.Keys(wk.tornFiles)) {
		b.progress.addProblem(repository.Problem{Path: wk.tornFiles[rel], Err: errChanged})
	}
	sum := man.RootEntry.DirSummary
	return details{
		Files:                sum.TotalFileCount - wk.files.Load(),
		Bytes:                sum.TotalFileSize - wk.bytes.Load(),
		Dirs:                 sum.TotalDirCount,
		Symlinks:             sum.TotalSymlinkCount,
		HardLinks:            wk.hardLinks.Load(),
		Special:              wk.special.Load(),
		Sockets:              wk.sockets.Load(),
		Changed:              wk.changed.Load(),
		Restless:             wk.left.restless,
		Unreadable:           b.progress.unreadable.Load(),
		AttributesUnreadable: wk.attrsLost.Load(),
		Vanished:             b.progress.vanished.Load() + wk.vanished.Load(),
		Attributes:           wk.entries.Load(),
		Rules:                b.rules(wk),
		Unmatched:            b.exclude.Unmatched(),
	}
}

// errUnfinished means that kopia ended the upload early. Unless the caller canceled it, kopia only logged the reason.
var errUnfinished = errors.New("the upload was not finished")

// verdict returns why the upload is no restore point, or nil. kopia returns no error where files failed or the
// upload was canceled.
func (b *backup) verdict(ctx context.Context, man *snapshot.Manifest, d details) error {
	switch {
	case man.IncompleteReason != "":
		return firstError(context.Cause(ctx), fmt.Errorf("%w: %s", errUnfinished, man.IncompleteReason))
	case d.Unreadable+d.AttributesUnreadable > 0 && !b.opt.AllowPartial:
		//nolint:errorlint // the kind is ErrPartial, whatever could not be read
		err := fmt.Errorf("%s, %s, first: %v", text.Quantity(d.Unreadable, "entry"),
			text.Quantity(d.AttributesUnreadable, "attribute"), b.progress.first())
		return &repository.Error{Op: "backup", Kind: repository.ErrPartial, Err: err}
	}
	return nil
}

// flushByCount limits memory. kopia keeps the index of everything written since the last flush in memory, about 700
// bytes per file, and flushes by itself only at checkpoints.
func (b *backup) flushByCount(ctx context.Context, w repo.RepositoryWriter, u *upload.Uploader) func() error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		var last int64
		for {
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-b.progress.flush:
			}
			if n := b.progress.done.Load() - b.progress.unchanged.Load(); n-last >= flushEvery {
				last = n
				if err := firstError(b.doubtNext(ctx, w, nil), w.Flush(ctx)); err != nil && ctx.Err() == nil {
					u.Cancel()
					done <- err
					return
				}
			}
		}
	}()
	return func() error { cancel(); return <-done }
}

// policy replaces every default of kopia with which the data or the repository could choose what is backed up.
func (b *backup) policy() *policy.Tree {
	yes, no := policy.NewOptionalBool(true), policy.NewOptionalBool(false)
	p := *policy.DefaultPolicy
	// By default kopia lets a file named .kopiaignore or CACHEDIR.TAG hide data.
	p.FilesPolicy = policy.FilesPolicy{IgnoreCacheDirectories: no}
	p.CompressionPolicy = policy.CompressionPolicy{CompressorName: b.comp, NeverCompress: neverCompress}
	// No error stops the upload: progress counts errors, and tree decides.
	p.ErrorHandlingPolicy = policy.ErrorHandlingPolicy{
		IgnoreFileErrors: yes, IgnoreDirectoryErrors: yes, IgnoreUnknownTypes: no,
	}
	size := policy.OptionalInt64(b.e.partSize)
	p.UploadPolicy.ParallelUploadAboveSize = &size
	return policy.BuildTree(map[string]*policy.Policy{".": &p}, &p)
}
