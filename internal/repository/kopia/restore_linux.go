package kopia

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Restore walks the snapshot depth first with a bounded number of workers. kopia's own restore package is not
// used: it queues every entry of the tree before it writes the first file (memory), opens by path (follows
// symbolic links placed in the target), sets symbolic links' times in microseconds, and gives directories the
// newest time below them instead of their own.
//
// Every entry is created relative to the descriptor of its directory with O_NOFOLLOW or O_EXCL, so nothing is
// written outside target whatever the snapshot says or another process does meanwhile.
func (e *repoEngine) Restore(ctx context.Context, id, target string, opt repository.RestoreOptions) (repository.RestoreResult, error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	defer e.packs.begin()()
	_, man, err := e.root(ctx, id)
	if err != nil {
		return repository.RestoreResult{}, classify("restore", cause(ctx, err))
	}
	fd, err := unix.Open(target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return repository.RestoreResult{}, &repository.Error{Op: "restore", Kind: repository.ErrTarget, Err: fmt.Errorf("open %s: %w", target, err)}
	}
	defer unix.Close(fd)
	// On cancelation nothing may write any more when Restore returns, hence the wait inside dir.
	r := &restorer{e: e, opt: opt, fd: fd, slots: make(chan struct{}, max(1, cmp.Or(opt.Parallel, defaultParallel))), links: map[linkID]*linkState{}}
	de, err := e.find(ctx, man.RootEntry, opt.Path)
	if err != nil {
		return repository.RestoreResult{}, classify("restore", cause(ctx, err))
	}
	unix.Fremovexattr(fd, "system.posix_acl_default") // else every new file inherits it; ours comes at the end
	if de.Type == snapshot.EntryTypeDirectory {
		err = r.dir(ctx, fd, "", de)
	} else {
		err = r.one(ctx, fd, man.RootEntry, de)
	}
	res := r.result()
	switch {
	case ctx.Err() != nil:
		return res, classify("restore", context.Cause(ctx))
	case err != nil:
		return res, restoreError(err)
	case r.failed.Load() > 0:
		return res, restoreError(r.firstErr)
	}
	// The disk may be behind with what was written, and have no room for it: only this would tell.
	if err := unix.Syncfs(fd); err != nil {
		return res, restoreError(fmt.Errorf("bring %s to the disk: %w", target, err))
	}
	return res, nil
}

// one restores an entry that is not a directory, with what its directory knows of it.
func (r *restorer) one(ctx context.Context, fd int, root, de *snapshot.DirEntry) error {
	recs, err := r.e.attrsAt(ctx, root, r.opt.Path)
	if err != nil {
		return err
	}
	name, err := decodeName(de.Name)
	if err != nil {
		return err
	}
	return r.entry(ctx, fd, "", name, de, recs[name])
}

// restoreError tells the target from the repository.
func restoreError(err error) error {
	if bareErrno(err) {
		return &repository.Error{Op: "restore", Kind: repository.ErrTarget, Err: err}
	}
	return classify("restore", err)
}

// restorer is one restore at work.
type restorer struct {
	e     *repoEngine
	opt   repository.RestoreOptions
	fd    int           // target
	slots chan struct{} // held by the extra goroutines
	mu    sync.Mutex
	links map[linkID]*linkState

	files, dirs, linked, special, bytes, skipped, failed atomic.Int64
	ownersLost, modesLost, attrsLost                     atomic.Int64
	problems                                             []repository.Problem
	firstErr                                             error
}

// linkState is one file with several names: the first to come writes it, the others wait and link.
type linkState struct {
	done chan struct{}
	rel  string // where it was written; empty if that failed
}

func (r *restorer) result() repository.RestoreResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return repository.RestoreResult{
		Files: r.files.Load(), Dirs: r.dirs.Load(), Links: r.linked.Load(), Special: r.special.Load(),
		Bytes: r.bytes.Load(), Skipped: r.skipped.Load(), OwnersNotRestored: r.ownersLost.Load(),
		ModesNotRestored: r.modesLost.Load(), AttributesNotRestored: r.attrsLost.Load(), Problems: r.problems,
	}
}

// problem notes what is missing from the restored tree; fail also makes the restore an error.
func (r *restorer) problem(rel string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, repository.Problem{Path: rel, Err: err})
	}
}

func (r *restorer) fail(rel string, err error) {
	if r.failed.Add(1) == 1 {
		r.mu.Lock()
		r.firstErr = fmt.Errorf("%s: %w", rel, err)
		r.mu.Unlock()
	}
	r.problem(rel, err)
}

// dir fills an open directory. It returns only what makes going on pointless.
func (r *restorer) dir(ctx context.Context, fd int, rel string, de *snapshot.DirEntry) error {
	dm, err := r.e.readDir(ctx, de.ObjectID)
	if err != nil {
		r.fail(rel, err)
		return ctx.Err()
	}
	recs, err := r.e.attrs(ctx, dm)
	if err != nil {
		r.fail(path.Join(rel, attrName), err)
	}
	r.dirs.Add(1)
	var wg sync.WaitGroup
	var stop atomic.Pointer[error]
	for _, x := range dm.Entries {
		if x.Name == attrName {
			continue
		}
		if ctx.Err() != nil || stop.Load() != nil {
			break
		}
		name, err := decodeName(x.Name)
		if err != nil {
			r.fail(path.Join(rel, x.Name), err)
			continue
		}
		work := func() {
			if err := r.entry(ctx, fd, rel, name, x, recs[name]); err != nil {
				stop.CompareAndSwap(nil, &err)
			}
		}
		select {
		case r.slots <- struct{}{}:
			wg.Add(1)
			go func() {
				defer func() { <-r.slots; wg.Done() }()
				work()
			}()
		default:
			work()
		}
	}
	wg.Wait()
	for name, rec := range recs {
		if rec.special != nil {
			r.mknod(fd, rel, name, rec)
		}
	}
	if err := stop.Load(); err != nil {
		return *err
	}
	r.setAttrs(place{fd, fd, ".", rel}, de, recs[""])
	return ctx.Err()
}

// empty says whether there is nothing in a directory of the snapshot.
func (r *restorer) empty(ctx context.Context, de *snapshot.DirEntry) bool {
	dm, err := r.e.readDir(ctx, de.ObjectID)
	return err == nil && len(dm.Entries) == 0
}

// entry restores one entry; an error means that nothing more can be restored.
func (r *restorer) entry(ctx context.Context, dfd int, relDir, name string, de *snapshot.DirEntry, rec *record) error {
	rel := path.Join(relDir, name)
	var err error
	write := r.file
	switch de.Type {
	case snapshot.EntryTypeDirectory:
		fd, err := r.mkdir(dfd, name)
		if err == unix.EACCES && rel == lostAndFound && r.empty(ctx, de) {
			return nil // the file system has its own
		}
		if err != nil {
			r.fail(rel, err)
			return ctx.Err()
		}
		defer unix.Close(fd)
		return r.dir(ctx, fd, rel, de)
	case snapshot.EntryTypeSymlink:
		write = r.symlink
	case snapshot.EntryTypeFile:
	default:
		write = func(context.Context, int, string, string, *snapshot.DirEntry, *record) error {
			return fmt.Errorf("unknown entry type %q", de.Type)
		}
	}
	if rec != nil && rec.link != nil {
		err = r.hardlink(dfd, rel, name, rec.link, func() error { return write(ctx, dfd, rel, name, de, rec) })
	} else {
		err = write(ctx, dfd, rel, name, de, rec)
	}
	if err == errSkipped {
		r.skipped.Add(1)
		return nil
	}
	if err != nil {
		r.fail(rel, err)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) {
			return err
		}
	}
	return ctx.Err()
}
