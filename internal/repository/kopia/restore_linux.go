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
// Every entry is created relative to the descriptor of its directory with O_NOFOLLOW or O_EXCL, and gets its
// attributes by its own descriptor (see place). So nothing outside target is changed, whatever the snapshot says or
// another process does meanwhile.
func (e *repoEngine) Restore(
	ctx context.Context, id, target string, opt repository.RestoreOptions,
) (_ repository.RestoreResult, err error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	defer e.packs.begin()()
	defer func() { e.saw(id, err) }()
	r, err := e.newRestorer(ctx, "restore", id, target, opt)
	if err != nil {
		return repository.RestoreResult{}, err
	}
	defer func() { _ = unix.Close(r.fd) }()
	defer r.tellProgress()()
	if r.entry.Type == snapshot.EntryTypeDirectory {
		err = r.top(ctx)
	} else {
		err = r.one(ctx)
	}
	r.settle(1)
	err = firstError(r.fatal(), err)
	res := r.result()
	switch {
	case ctx.Err() != nil:
		return res, classify("restore", context.Cause(ctx))
	case err != nil:
		return res, restoreError(err)
	case r.failed.Load() > 0:
		return res, restoreError(r.firstErr)
	}
	// The kernel may not have written everything to the disk yet. Only a sync shows that the disk has no room for it.
	if err := r.e.syncfs(r.fd); err != nil {
		return res, restoreError(fmt.Errorf("bring %s to the disk: %w", target, err))
	}
	return res, nil
}

// one restores an entry that is not a directory, with the attributes that its directory keeps for it.
func (r *restorer) one(ctx context.Context) error {
	recs, err := r.e.attrsAt(ctx, r.root, r.opt.Path)
	if err != nil {
		return err
	}
	name, err := decodeName(r.entry.Name)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(r.fd, &st); err != nil {
		return err
	}
	r.dev = st.Dev
	r.dropLeftovers(r.fd, "", func() map[string]bool { return map[string]bool{name: true} })
	at := treatment{}
	r.prepareDir(r.fd, r.entry, &at, r.openMode(r.fd))
	err = r.restore(ctx, r.fd, "", name, r.entry, recs[name], true)
	r.later(weightDir, func(error) { at.resetMode() })
	return err
}

// restoreError gives an error of the target the kind ErrTarget, and classifies errors of the repository.
func restoreError(err error) error {
	if bareErrno(err) {
		return &repository.Error{Op: "restore", Kind: repository.ErrTarget, Err: err}
	}
	return classify("restore", err)
}

// restorer is one restore.
type restorer struct {
	e     *repoEngine
	id    string // of the snapshot
	opt   repository.RestoreOptions
	fd    int                // target
	root  *snapshot.DirEntry // of the snapshot
	entry *snapshot.DirEntry // of the snapshot; it is restored
	slots chan struct{}      // one for each extra goroutine
	mu    sync.Mutex
	links map[linkID]*linkGroup
	sel   repository.Selection
	left  leftOut
	dev   uint64 // of the target
	// inherits is set once new entries can have an ACL from a directory of the target.
	inherits atomic.Bool
	// touched is set once something of the target was changed.
	touched atomic.Bool
	// shared is set once a file that has other names is to be replaced.
	shared atomic.Bool

	databases, companions sync.Map // see expect and setAside

	waiting waiting
	inUse   sync.Map     // names of NewUnfinishedName
	writing sync.RWMutex // a write lock means that one entry is written alone
	cleared sync.Once    // of leftovers, once the target was full
	end     error        // nothing more can be restored

	files, dirs, linked, special, bytes, skipped, failed atomic.Int64
	extraKept, sameIn                                    atomic.Int64 // sameIn: directories with names that are one
	overwritten, deleted, passed                         atomic.Int64 // passed: bytes of entries that were kept
	said                                                 atomic.Int64 // lines of the log
	ownersLost, modesLost, attrsLost, devicesLost        atomic.Int64
	problems                                             []repository.Problem
	firstErr                                             error
}

func (r *restorer) result() repository.RestoreResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return repository.RestoreResult{
		Files: r.files.Load(), Dirs: r.dirs.Load(), Links: r.linked.Load(), Special: r.special.Load(),
		Bytes: r.bytes.Load(), Skipped: r.skipped.Load(), OwnersNotRestored: r.ownersLost.Load(),
		ModesNotRestored: r.modesLost.Load(), AttributesNotRestored: r.attrsLost.Load(),
		DevicesNotRestored: r.devicesLost.Load(), Problems: r.problems,
		Overwritten: r.overwritten.Load(), Deleted: r.deleted.Load(), LinksNotRestored: r.linksLost(),
		ExtraKept: r.extraKept.Load(), Unmatched: r.sel.Unmatched(), Touched: r.touched.Load(),
	}
}

// problem records what is missing from the restored tree; fail also makes the restore fail.
func (r *restorer) problem(rel string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, repository.Problem{Path: rel, Err: err})
	}
}

func (r *restorer) fail(rel string, err error) {
	r.e.saw(r.id, err)
	if r.failed.Add(1) == 1 {
		r.mu.Lock()
		r.firstErr = fmt.Errorf("%s: %w", rel, err)
		r.mu.Unlock()
	}
	r.problem(rel, err)
	if !errors.Is(err, repository.ErrSameName) && !errors.Is(err, context.Canceled) { // distinct has told more
		r.say(rel, repository.Redact(err.Error()))
	}
}

// say tells the log something about an entry, as long as there is not too much to tell.
func (r *restorer) say(rel, what string) {
	if r.e.log != nil && r.said.Add(1) <= maxProblems {
		r.e.log("warn", "restore", fmt.Sprintf("%q: %s", cmp.Or(rel, "."), what))
	}
}

// fatal returns an error after which nothing more can be restored.
func (r *restorer) fatal() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end
}

// dir restores the entries of an open directory, as at says. finish does the rest once they are on the disk. dir
// returns only errors after which nothing more can be restored.
func (r *restorer) dir(
	ctx context.Context, fd int, rel string, de *snapshot.DirEntry, at treatment,
) (finish func(), _ error) {
	dm, err := r.e.readDir(ctx, de.ObjectID)
	if err != nil {
		r.fail(rel, err)
		return nil, ctx.Err()
	}
	recs, err := r.e.attrs(ctx, dm)
	if err != nil {
		r.fail(path.Join(rel, attrName), err)
		if !damage(err) { // a later restore could keep what would now be restored without its attributes
			return nil, ctx.Err()
		}
	}
	unknown := err != nil
	if at.existed && !unknown { // else nobody knows which names are the snapshot's
		r.dropLeftovers(fd, rel, func() map[string]bool { return knownIn(dm, recs) })
	}
	err = r.withRoom(ctx, 0, func() error { return r.distinct(fd, rel, dm, recs) })
	if err != nil {
		return nil, firstError(r.ended(rel, 0, err), ctx.Err())
	}
	r.dirs.Add(1)
	r.expect(rel, dm)
	if at.marked && hasMark(dm, recs) { // the snapshot needs the name
		r.step()
		_ = r.did(unix.Unlinkat(fd, repository.RestoreMark, 0))
		at.marked = false
	}
	err = r.each(ctx, rel, dm, func(x *snapshot.DirEntry, err error) error {
		r.fail(path.Join(rel, x.Name), err)
		unknown = true
		return nil
	}, func(name string, x *snapshot.DirEntry, selected bool) error {
		return r.restore(ctx, fd, rel, name, x, recs[name], selected)
	})
	if err == nil {
		err = r.specials(ctx, fd, rel, recs)
	}
	if err := firstError(err, ctx.Err()); err != nil {
		return nil, err
	}
	var known map[string]bool
	tidies := at.existed && !unknown // what is unknown is not extra
	deletes := tidies && r.opt.DeleteExtra && r.opt.OnConflict != repository.ConflictFail
	if deletes {
		known = knownIn(dm, recs)
	}
	self := recs[""]
	return func() {
		if deletes {
			r.tidy(fd, rel, known)
		}
		if tidies && at.attrs {
			r.dropXattrs(place{fd: fd, rel: rel}, self)
		}
		if at.attrs {
			r.settleDir(fd, rel, de, self, at)
		}
	}, nil
}

// empty reports whether a directory of the snapshot has no entries.
func (r *restorer) empty(ctx context.Context, de *snapshot.DirEntry) bool {
	dm, err := r.e.readDir(ctx, de.ObjectID)
	return err == nil && len(dm.Entries) == 0
}

// restore restores one entry; an error means that nothing more can be restored.
func (r *restorer) restore(
	ctx context.Context, dfd int, relDir, name string, de *snapshot.DirEntry, rec *record, selected bool,
) error {
	rel := path.Join(relDir, name)
	write := r.file
	switch de.Type {
	case snapshot.EntryTypeDirectory:
		return r.subdir(ctx, dfd, rel, name, de, rec, selected)
	case snapshot.EntryTypeSymlink:
		write = r.symlink
	case snapshot.EntryTypeFile:
	default:
		write = func(context.Context, int, string, string, *snapshot.DirEntry, *record) error {
			return fmt.Errorf("unknown entry type %q", de.Type)
		}
	}
	do := func() error { return write(ctx, dfd, rel, name, de, rec) }
	if rec != nil && rec.link != nil {
		first := do
		do = func() error { return r.hardlink(dfd, rel, name, de, rec, changed(de, rec), first) }
	}
	err := r.withRoom(ctx, de.FileSize, do)
	if err == errLater {
		return firstError(r.fatal(), ctx.Err())
	}
	return firstError(r.ended(rel, de.FileSize, err), ctx.Err())
}

// errLater means that an entry gets its name later.
var errLater = errors.New("later")

// ended counts an entry that has its name, or does not get it. An error means that nothing more can be restored.
func (r *restorer) ended(rel string, size int64, err error) error {
	if err == errSkipped {
		r.skipped.Add(1)
		r.passed.Add(size)
		r.opt.Kept.Add(rel)
		return nil
	}
	if err == nil {
		return nil
	}
	r.fail(rel, err)
	if r.endsAll(err) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.end = firstError(r.end, fmt.Errorf("%s: %w", rel, err))
		return err
	}
	return nil
}

// endsAll reports whether nothing more can be restored after an error. A target can hold something that only looks like
// a part of it and is read-only, such as the snapshots of a file server.
func (r *restorer) endsAll(err error) bool {
	var st unix.Statfs_t
	return repository.IsFull(err) ||
		errors.Is(err, unix.EROFS) && (unix.Fstatfs(r.fd, &st) != nil || st.Flags&unix.ST_RDONLY != 0)
}
