package kopia

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

var errSkipped = errors.New("skipped")

// leftover is the prefix of temporary files. They replace other files once they are whole.
const leftover = reserved + "r"

// treatment is how a directory of the target is treated.
type treatment struct {
	selected bool // its entries are restored unless they are excluded
	attrs    bool // it gets its attributes from the snapshot
	existed  bool
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
		at.attrs = at.selected && !r.keeps(&st, changed(r.entry, nil))
	}
	if at.attrs {
		// else every new file inherits it; the ACL of the snapshot is set at the end
		_ = unix.Fremovexattr(r.fd, "system.posix_acl_default")
	}
	return r.dir(ctx, r.fd, "", r.entry, at)
}

// subdir restores a directory and its entries. A directory that only leads to selected entries is removed if it stays
// empty.
func (r *restorer) subdir(
	ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry, rec *record, selected bool,
) error {
	fd, at, err := r.mkdir(dfd, name, changed(de, rec), selected)
	if err == unix.EACCES && rel == lostAndFound && r.empty(ctx, de) {
		return nil // the file system has a lost+found of its own
	}
	if err != nil {
		r.fail(rel, err)
		return ctx.Err()
	}
	err = r.dir(ctx, fd, rel, de, at)
	_ = unix.Close(fd)
	if !selected && !at.existed {
		_ = unix.Unlinkat(dfd, name, unix.AT_REMOVEDIR) // fails where the directory is not empty
	}
	return err
}

// mkdir makes a directory, or finds it, and opens it.
func (r *restorer) mkdir(dfd int, name string, t timeRec, selected bool) (int, treatment, error) {
	at := treatment{selected: selected, attrs: true}
	err := unix.Mkdirat(dfd, name, 0o700)
	if err == unix.EEXIST {
		at.existed, at.attrs = true, selected
		if r.opt.OnConflict != repository.ConflictFail {
			var st unix.Stat_t
			if err := unix.Fstatat(dfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return -1, at, err
			}
			keeps := r.keeps(&st, t)
			switch {
			case st.Mode&unix.S_IFMT == unix.S_IFDIR:
				at.attrs = selected && !keeps
			case keeps: // the entries of the directory would be missing
				return -1, at, &repository.Error{Op: "restore", Kind: repository.ErrInTheWay, Err: unix.ENOTDIR}
			default:
				if err := unix.Unlinkat(dfd, name, 0); err != nil {
					return -1, at, err
				}
				r.overwritten.Add(1)
				at.existed, at.attrs = false, true
				if err := unix.Mkdirat(dfd, name, 0o700); err != nil {
					return -1, at, err
				}
			}
		}
		err = nil
	}
	if err != nil {
		return -1, at, err
	}
	fd, err := unix.Openat(dfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return fd, at, err
}

// put calls create with a name that must not exist, and moves the result into place as OnConflict says. The entry
// of the snapshot was modified at t.
func (r *restorer) put(dfd int, rel, name string, t timeRec, create func(name string) error) error {
	err := create(name)
	if err != unix.EEXIST {
		return err
	}
	if r.opt.OnConflict == repository.ConflictFail {
		return fmt.Errorf("exists already: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if r.keeps(&st, t) {
		return errSkipped
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := r.clear(dfd, rel, name); err != nil {
			return err
		}
		r.overwritten.Add(1)
		return create(name)
	}
	tmp := leftover + strconv.FormatUint(rand.Uint64(), 36)
	if err := create(tmp); err != nil {
		return err
	}
	if err := unix.Renameat(dfd, tmp, dfd, name); err != nil {
		_ = unix.Unlinkat(dfd, tmp, 0)
		return err
	}
	_ = unix.Unlinkat(dfd, tmp, 0) // exists only where both were the same file
	r.overwritten.Add(1)
	return nil
}

// clear removes a directory from the place of a file. It empties the directory first only if extra entries are
// deleted.
func (r *restorer) clear(dfd int, rel, name string) error {
	if r.opt.DeleteExtra {
		r.remove(dfd, path.Dir(rel), name)
	}
	err := unix.Unlinkat(dfd, name, unix.AT_REMOVEDIR)
	switch err {
	case nil, unix.ENOENT:
		return nil
	case unix.ENOTEMPTY, unix.EEXIST, unix.EBUSY:
		return &repository.Error{Op: "restore", Kind: repository.ErrInTheWay, Err: err}
	default:
		return err
	}
}
