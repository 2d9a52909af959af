package kopia

import (
	"context"
	"errors"
	"path"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// A restore needs room beside the files that it replaces: for those that wait for the disk, and for those that are
// being written. An earlier restore that was killed left some of both behind. So what it left goes before a directory
// is filled. Where the target is full all the same, what waits gets its name, what was left elsewhere goes, and the
// entry is written alone. So there is always room for the restore if there is room for each of its files. Hard links
// are the exception: a replaced file takes room until its last name is replaced, which may be in a directory that comes
// last.

// withRoom calls do, which writes an entry of so many bytes. If the target is full, it makes room and calls do again.
func (r *restorer) withRoom(ctx context.Context, size int64, do func() error) error {
	err := r.besideOthers(do)
	if !isFull(err) {
		return err
	}
	r.writing.Lock() // what others write now also takes room
	defer r.writing.Unlock()
	r.settle(1)
	r.cleared.Do(func() { r.dropAllLeftovers(ctx, r.fd, "", r.entry) })
	if firstError(r.fatal(), ctx.Err()) != nil {
		return err
	}
	if err = do(); isFull(err) {
		return r.noRoom(size, err)
	}
	return err
}

// besideOthers calls do while others run.
func (r *restorer) besideOthers(do func() error) error {
	r.writing.RLock()
	defer r.writing.RUnlock()
	return do()
}

// isFull reports whether an error says that the target has no room.
func isFull(err error) bool { return bareErrno(err) && repository.IsFull(err) }

// noRoom adds to an error how much room is left for an entry of so many bytes. That means nothing where a quota or the
// number of files is the limit.
func (r *restorer) noRoom(size int64, err error) error {
	full := &repository.TargetFull{Needs: size, Left: -1, Links: r.shared.Load(), Err: err}
	var st unix.Statfs_t
	if unix.Fstatfs(r.fd, &st) == nil && !errors.Is(err, unix.EDQUOT) && (st.Files == 0 || st.Ffree > 0) {
		full.Left = int64(st.Bavail) * st.Bsize
	}
	return full
}

// dropAllLeftovers does what dropLeftovers does, in all directories into which a directory of the snapshot is restored.
// What it cannot read stays: the restore comes there, too.
func (r *restorer) dropAllLeftovers(ctx context.Context, fd int, rel string, de *snapshot.DirEntry) {
	if de.Type != snapshot.EntryTypeDirectory {
		return // there is one directory, and it was done
	}
	dm, err := r.e.readDir(ctx, de.ObjectID)
	if err != nil {
		return
	}
	recs, err := r.e.attrs(ctx, dm)
	if err != nil {
		return
	}
	r.dropLeftovers(fd, rel, func() map[string]bool { return knownIn(dm, recs) })
	for _, x := range dm.Entries {
		name, err := decodeName(x.Name)
		if err != nil || x.Type != snapshot.EntryTypeDirectory || ctx.Err() != nil {
			continue
		}
		in := path.Join(rel, name)
		if selected, enter := r.sel.Takes(in, true); !selected && !enter {
			continue
		}
		if sub, err := openDir(fd, name); err == nil {
			r.dropAllLeftovers(ctx, sub, in, x)
			_ = unix.Close(sub)
		}
	}
}
