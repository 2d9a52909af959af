package kopia

import (
	"context"
	"errors"
	"strconv"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

var errSkipped = errors.New("skipped")

// treatment is how a directory of the target is treated.
type treatment struct {
	selected  bool // its entries are restored unless they are excluded
	attrs     bool // it gets its attributes from the snapshot
	marked    bool // it holds a mark until it has them
	existed   bool
	resetMode func() // sets the mode that it had, if it does not get one
}

// changed returns the modification time of an entry of the snapshot.
func changed(de *snapshot.DirEntry, rec *record) timeRec {
	if rec != nil && rec.time != nil {
		return *rec.time
	}
	t := de.ModTime.ToTime()
	return timeRec{t.Unix(), int64(t.Nanosecond())}
}

// keeps reports whether an existing entry stays. The entry of the snapshot was modified at t.
func (r *restorer) keeps(st *unix.Stat_t, t timeRec) bool {
	switch r.opt.OnConflict {
	case repository.ConflictSkip:
		return true
	case repository.ConflictNewer:
		return st.Mtim.Sec > t.sec || st.Mtim.Sec == t.sec && st.Mtim.Nsec >= t.nsec
	default:
		return false
	}
}

// top fills the target.
func (r *restorer) top(ctx context.Context) error {
	if r.opt.DeleteExtra && !r.sel.Root() {
		// Nothing is deleted for patterns that mean nothing in the snapshot.
		if nothing, err := r.choosesNothing(ctx, "", r.entry); err != nil || nothing {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(r.fd, &st); err != nil {
		return err
	}
	r.dev = st.Dev
	at := treatment{selected: r.sel.Root(), existed: true}
	if r.opt.OnConflict == repository.ConflictFail {
		at.attrs = at.selected
	} else {
		at.attrs = at.selected && (!r.keeps(&st, changed(r.entry, nil)) || isMarked(r.fd, &st, r.entry))
	}
	r.prepareDir(r.fd, r.entry, &at, r.openMode(r.fd))
	finish, err := r.dir(ctx, r.fd, "", r.entry, at)
	r.later(weightDir, func(disk error) {
		if finish != nil && disk == nil {
			finish()
		}
		at.resetMode()
	})
	return err
}

// subdir restores a directory and its entries. A directory that only leads to selected entries is removed if it stays
// empty.
func (r *restorer) subdir(
	ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry, rec *record, selected bool,
) error {
	var fd int
	var at treatment
	err := r.withRoom(ctx, 0, func() (err error) {
		fd, at, err = r.enter(dfd, name, de, changed(de, rec), selected)
		return err
	})
	if err == unix.EACCES && rel == lostAndFound && r.empty(ctx, de) {
		return nil // the file system has a lost+found of its own
	}
	if err != nil {
		return firstError(r.ended(rel, 0, err), ctx.Err())
	}
	finish, err := r.dir(ctx, fd, rel, de, at)
	r.later(weightDir, func(disk error) {
		if finish != nil && disk == nil {
			finish()
		}
		at.resetMode()
		_ = unix.Close(fd)
		if !selected && !at.existed {
			r.step()
			_ = unix.Unlinkat(dfd, name, unix.AT_REMOVEDIR) // fails where the directory is not empty
		}
	})
	return err
}

// enter opens a directory. It makes the directory where there is none.
func (r *restorer) enter(
	dfd int, name string, de *snapshot.DirEntry, t timeRec, selected bool,
) (int, treatment, error) {
	at := treatment{selected: selected, attrs: true, existed: true, resetMode: func() {}}
	var st unix.Stat_t
	err := unix.Fstatat(dfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	keeps := err == nil && r.keeps(&st, t)
	switch {
	case err == unix.ENOENT:
		at.existed = false
	case err != nil:
		return -1, at, err
	case isDir || r.opt.OnConflict == repository.ConflictFail: // without a directory, the opening fails
		at.attrs = selected && !keeps
	case keeps: // the entries of the directory would be missing
		return -1, at, &repository.Error{Op: "restore", Kind: repository.ErrInTheWay, Err: unix.ENOTDIR}
	default:
		r.step()
		if err := r.did(unix.Unlinkat(dfd, name, 0)); err != nil {
			return -1, at, err
		}
		r.overwritten.Add(1)
		at.existed = false
	}
	if !at.existed {
		fd, err := r.mkdir(dfd, name, de, &at)
		return fd, at, err
	}
	fd, reset, err := r.openOwn(dfd, name)
	if err != nil {
		return -1, at, err
	}
	at.attrs = at.attrs || selected && isMarked(fd, &st, de)
	r.prepareDir(fd, de, &at, reset)
	return fd, at, nil
}

// prepareDir prepares an existing directory that is open for its entries. reset is what openMode returned for it.
func (r *restorer) prepareDir(fd int, de *snapshot.DirEntry, at *treatment, reset func(fd int)) {
	at.resetMode = func() {}
	switch {
	case at.attrs: // it gets its mode in the end
		r.touched.CompareAndSwap(false, reset != nil)
		at.marked = r.mark(fd, de) == nil
	case reset != nil:
		at.resetMode = func() { reset(fd) }
	}
	r.dropDefaultACL(fd, at.attrs)
}

func openDir(dfd int, name string) (int, error) {
	return unix.Openat(dfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// openOwn opens a directory. If it is the user's own, its mode does not keep them from reading and changing it. reset
// is what openMode returned.
func (r *restorer) openOwn(dfd int, name string) (fd int, reset func(fd int), err error) {
	if fd, err = openDir(dfd, name); err != unix.EACCES {
		if err == nil {
			reset = r.openMode(fd)
		}
		return fd, reset, err
	}
	p, err := unix.Openat(dfd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, nil, err
	}
	defer func() { _ = unix.Close(p) }()
	reset = r.openMode(p)
	if fd, err = openDir(p, "."); err != nil {
		return -1, nil, err
	}
	return fd, reset, nil
}

// openMode lets the user work in a directory of their own whose mode forbids it. reset sets the mode that it had, as if
// nothing had been changed. It is nil if nothing was.
func (r *restorer) openMode(fd int) (reset func(fd int)) {
	var st unix.Stat_t
	if unix.Faccessat(fd, ".", unix.R_OK|unix.W_OK|unix.X_OK, 0) != unix.EACCES || unix.Fstat(fd, &st) != nil {
		return nil
	}
	had := st.Mode & 0o7777
	if had&ownBits == ownBits {
		return nil
	}
	r.step()
	if unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), had|ownBits) != nil {
		return nil
	}
	return func(fd int) {
		r.step()
		if unix.Fchmod(fd, had) != nil {
			r.touched.Store(true)
		}
	}
}

// mkdir makes a directory that holds a mark, and opens it. Without room for the mark there is no directory. A file
// system that has no symbolic links makes it without one.
func (r *restorer) mkdir(dfd int, name string, de *snapshot.DirEntry, at *treatment) (int, error) {
	tmp := r.newName()
	defer r.inUse.Delete(tmp)
	r.step()
	if err := r.did(unix.Mkdirat(dfd, tmp, 0o700)); err != nil {
		return -1, err
	}
	fd, err := openDir(dfd, tmp)
	if err == nil {
		r.disinherit(place{fd: fd}, aclDefault, aclAccess)
		if err = r.mark(fd, de); !isFull(err) {
			at.marked = err == nil
			err = r.rename(dfd, tmp, name, false)
		}
	}
	if err != nil {
		if fd >= 0 {
			_ = unix.Unlinkat(fd, repository.RestoreMark, 0)
			_ = unix.Close(fd)
		}
		_ = unix.Unlinkat(dfd, tmp, unix.AT_REMOVEDIR)
		return -1, err
	}
	return fd, nil
}

// prepare looks for what has the name already. It reports whether the entry takes the place of another. The entry of
// the snapshot was modified at t.
func (r *restorer) prepare(dfd int, rel, name string, t timeRec) (replaces bool, _ error) {
	var st unix.Stat_t
	switch err := unix.Fstatat(dfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == unix.ENOENT:
		return false, nil
	case err != nil:
		return false, err
	case r.opt.OnConflict == repository.ConflictFail:
		return false, errExists
	case r.keeps(&st, t):
		return false, errSkipped
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return true, r.clear(dfd, rel, name)
	case st.Nlink > 1:
		r.shared.Store(true)
	}
	return true, nil
}

// clear removes a directory from the place of a file. It empties the directory first only if extra entries are
// deleted.
func (r *restorer) clear(dfd int, rel, name string) error {
	if r.opt.DeleteExtra {
		r.removeEntry(dfd, rel, name, true)
	}
	r.step()
	err := r.did(unix.Unlinkat(dfd, name, unix.AT_REMOVEDIR))
	switch err {
	case nil, unix.ENOENT:
		return nil
	case unix.ENOTEMPTY, unix.EEXIST, unix.EBUSY:
		return &repository.Error{Op: "restore", Kind: repository.ErrInTheWay, Err: err}
	default:
		return err
	}
}
