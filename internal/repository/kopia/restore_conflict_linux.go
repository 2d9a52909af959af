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

// leftover begins the names of files that take the place of others once they are whole.
const leftover = reserved + "r"

// treatment says how a directory of the target is treated.
type treatment struct {
	selected bool // what lies in it is restored unless it is excluded
	attrs    bool // it gets the attributes that it has in the snapshot
	existed  bool
}

// changed is when an entry of the snapshot was changed.
func changed(de *snapshot.DirEntry, rec *record) timeRec {
	if rec != nil && rec.time != nil {
		return *rec.time
	}
	t := de.ModTime.ToTime()
	return timeRec{t.Unix(), int64(t.Nanosecond())}
}

// keeps says whether what is there stays, of which one in the snapshot was changed at t.
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
		unix.Fremovexattr(r.fd, "system.posix_acl_default") // else every new file inherits it; ours comes at the end
	}
	return r.dir(ctx, r.fd, "", r.entry, nil, at)
}

// subdir restores a directory and what is in it. One that is only on the way to what is selected does not stay empty.
func (r *restorer) subdir(ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry, rec *record, selected bool) error {
	fd, at, err := r.mkdir(dfd, rel, name, changed(de, rec), selected)
	if err == unix.EACCES && rel == lostAndFound && r.empty(ctx, de) {
		return nil // the file system has its own
	}
	if err != nil {
		r.fail(rel, err)
		return ctx.Err()
	}
	err = r.dir(ctx, fd, rel, de, rec, at)
	unix.Close(fd)
	if !selected && !at.existed {
		_ = unix.Unlinkat(dfd, name, unix.AT_REMOVEDIR) // fails where it holds something
	}
	return err
}

// mkdir makes a directory, or finds it, and opens it.
func (r *restorer) mkdir(dfd int, rel, name string, t timeRec, selected bool) (int, treatment, error) {
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
			case keeps: // what lies in the directory would be missing
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

// put calls create with a name that must not exist, and moves the result into place as OnConflict says. In the snapshot it
// was changed at t.
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
	_ = unix.Unlinkat(dfd, tmp, 0) // still there only where both were the same file
	r.overwritten.Add(1)
	return nil
}

// clear removes a directory that is where a file belongs. With something in it, it goes only if extra entries are deleted.
func (r *restorer) clear(dfd int, rel, name string) error {
	if r.opt.DeleteExtra {
		r.remove(dfd, path.Dir(rel), name, true)
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
