package kopia

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// A directory gets its attributes after its entries. If a restore ends in between, a later one that keeps existing
// files would keep a directory with the attributes that nobody chose. So a directory that is being restored holds a
// mark: a symbolic link, which exists at once with all that it says. A directory that is made holds it from the moment
// when it has its name. It goes once the attributes are set, but stays if the restore fails.
//
// A mark counts only for the same directory of a snapshot, and only as long as nobody gave the directory another mode
// or owner. Another restore leaves it alone unless it sets the attributes itself. The removal of the mark changes the
// time of the directory, so a restore that is killed just then loses this time, and nothing else. (Without root, it can
// leave a directory writable that is not.)

// mark puts a mark into an open directory. An error means that there is none: some file systems have no symbolic links,
// and some directories cannot be written to.
func (r *restorer) mark(fd int, de *snapshot.DirEntry) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	text := fmt.Sprintf("%s %o %d %d", duty(de), st.Mode&0o7777, st.Uid, st.Gid)
	r.step()
	err := r.did(unix.Symlinkat(text, fd, repository.RestoreMark))
	if err == unix.EEXIST {
		switch old, ok := readMark(fd); {
		case !ok: // it is not ours
		case old.counts(&st, de): // it says how the directory was made
			return nil
		default: // of another snapshot, or the directory was changed since
			_ = r.did(unix.Unlinkat(fd, repository.RestoreMark, 0))
			err = r.did(unix.Symlinkat(text, fd, repository.RestoreMark))
		}
	}
	return err
}

// duty identifies a directory of a snapshot, its entries and its attributes.
func duty(de *snapshot.DirEntry) string {
	t := de.ModTime.ToTime()
	sum := sha256.Sum256(fmt.Appendf(nil, "%v %v %d %d %d %d", de.ObjectID, de.Permissions, de.UserID, de.GroupID,
		t.Unix(), t.Nanosecond()))
	return fmt.Sprintf("%x", sum[:12])
}

// markOf is what a mark says: whose it is, and what the directory was like when it was made.
type markOf struct {
	duty           string
	mode, uid, gid uint32
}

// readMark reads the mark of an open directory.
func readMark(fd int) (m markOf, ok bool) {
	buf := make([]byte, 256)
	n, err := unix.Readlinkat(fd, repository.RestoreMark, buf)
	if err != nil {
		return m, false
	}
	_, err = fmt.Sscanf(string(buf[:n]), "%s %o %d %d", &m.duty, &m.mode, &m.uid, &m.gid)
	return m, err == nil
}

// counts reports whether a mark is that of an entry of the snapshot, and nobody changed the directory since.
func (m markOf) counts(st *unix.Stat_t, de *snapshot.DirEntry) bool {
	// An ACL changes the mode before the mode is set, and ownBits can be set until the mark is gone.
	const loose = 0o777 &^ ownBits
	return m.duty == duty(de) &&
		(st.Mode&0o7777 == m.mode || (st.Mode^unixMode(de.Permissions))&loose == 0) &&
		(st.Uid == m.uid || st.Uid == de.UserID) && (st.Gid == m.gid || st.Gid == de.GroupID)
}

// isMarked reports whether an open directory holds a mark that counts for an entry of the snapshot.
func isMarked(fd int, st *unix.Stat_t, de *snapshot.DirEntry) bool {
	m, ok := readMark(fd)
	return ok && m.counts(st, de)
}

// hasMark reports whether a directory of the snapshot has an entry of a mark's name.
func hasMark(dm *snapshot.DirManifest, recs map[string]*record) bool {
	if rec := recs[repository.RestoreMark]; rec != nil && rec.special != nil {
		return true
	}
	return slices.ContainsFunc(dm.Entries, func(x *snapshot.DirEntry) bool { return x.Name == storedMark })
}

// storedMark is the name of a mark in a snapshot.
var storedMark = encodeName(repository.RestoreMark)

// dropUnfinished removes what a killed restore left under a name of NewUnfinishedName. A directory holds nothing but
// its mark before it has its name, or empty files with which the restore tried names.
func (r *restorer) dropUnfinished(dfd int, name string) {
	r.step()
	if r.did(unix.Unlinkat(dfd, name, 0)) == nil {
		return
	}
	if fd, err := openDir(dfd, name); err == nil {
		if _, ours := readMark(fd); ours {
			_ = r.did(unix.Unlinkat(fd, repository.RestoreMark, 0))
		}
		if tried, err := names(fd, func(string) bool { return true }); err == nil {
			dropEmpty(fd, tried)
		}
		_ = unix.Close(fd)
		_ = r.did(unix.Unlinkat(dfd, name, unix.AT_REMOVEDIR))
	}
}

// writableBits let the owner of a directory remove its mark, and ownBits let them restore what is in it.
const (
	writableBits = 0o300
	ownBits      = 0o700
)

// unmark removes the mark of a directory that has its mode already. Only root can do that in each directory. It reports
// whether it had to set the mode again.
func (r *restorer) unmark(fd int, de *snapshot.DirEntry) (again bool, err error) {
	r.step()
	err = r.did(unix.Unlinkat(fd, repository.RestoreMark, 0))
	if mode := unixMode(de.Permissions); err == unix.EACCES && mode&writableBits != writableBits {
		if err = r.did(unix.Fchmod(fd, mode|writableBits)); err == nil {
			err = unix.Unlinkat(fd, repository.RestoreMark, 0)
			_ = unix.Fchmod(fd, mode)
			again = true
		}
	}
	if err == unix.ENOENT {
		err = nil
	}
	return again, err
}

// settleDir sets the attributes of a directory and removes its mark.
func (r *restorer) settleDir(fd int, rel string, de *snapshot.DirEntry, rec *record, at treatment) {
	p := place{fd: fd, rel: rel}
	if !at.marked || r.failed.Load() > 0 {
		r.setAttrs(p, de, rec)
		return
	}
	r.setOwner(p, de)
	r.setXattrs(p, rec, false)
	r.setMode(p, de)
	r.setXattrs(p, rec, true)
	again, err := r.unmark(fd, de)
	if err != nil {
		r.fail(rel, fmt.Errorf("remove the mark of an unfinished directory: %w", err))
	}
	if again {
		r.setXattrs(p, rec, true)
	}
	r.setTime(p, de, rec)
}
