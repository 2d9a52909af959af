package kopia

import (
	"errors"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// place is an entry that was restored, by its descriptor. Other processes can use the volume meanwhile: a name can lead
// to another entry at any time, also to one outside the target. So nothing is changed by name.
type place struct {
	fd   int
	held bool // by O_PATH: a symbolic link, a FIFO or a device, which cannot be opened
	rel  string
}

// errTaken means that another process put something else in the place of an entry that the restore had just made.
var errTaken = errors.New("another process replaced it while it was restored: stop what writes to the volume, and " +
	"restore again")

// hold calls do with an entry that was just made and that cannot be opened. It returns errTaken if the name leads to
// something else by now.
func (r *restorer) hold(dfd int, name, rel string, typ uint32, rdev uint64, do func(place)) error {
	r.step()
	fd, err := unix.Openat(dfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return errTaken
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return err
	}
	device := typ == unix.S_IFCHR || typ == unix.S_IFBLK
	if st.Mode&unix.S_IFMT != typ || st.Nlink > 1 || device && st.Rdev != rdev {
		return errTaken
	}
	do(place{fd: fd, held: true, rel: rel})
	return nil
}

// proc returns a path that the kernel resolves to the entry of the descriptor itself, even if that is a symbolic link.
func (p place) proc() string { return "/proc/self/fd/" + strconv.Itoa(p.fd) }

// id returns which file it is. It is zero if the file system does not tell.
func (p place) id() linkID {
	var st unix.Stat_t
	if fstat(p.fd, &st) != nil {
		return linkID{}
	}
	return linkID{st.Dev, st.Ino}
}

func (p place) chown(uid, gid int) error {
	if p.held {
		return unix.Fchownat(p.fd, "", uid, gid, unix.AT_EMPTY_PATH)
	}
	return unix.Fchown(p.fd, uid, gid)
}

// chmod goes through /proc where fchmod is not possible: fchmodat2 came only with Linux 6.6.
func (p place) chmod(mode uint32) error {
	if p.held {
		return unix.Chmod(p.proc(), mode)
	}
	return unix.Fchmod(p.fd, mode)
}

func (p place) setXattr(name string, value []byte) error {
	if p.held {
		return unix.Setxattr(p.proc(), name, value, 0)
	}
	return unix.Fsetxattr(p.fd, name, value, 0)
}

func (p place) removeXattr(name string) error {
	if p.held {
		return unix.Removexattr(p.proc(), name)
	}
	return unix.Fremovexattr(p.fd, name)
}

// setTime sets the times of access and modification.
func (p place) setTime(at unix.Timespec) error {
	ts := [2]unix.Timespec{at, at}
	if p.held {
		return unix.UtimesNanoAt(unix.AT_FDCWD, p.proc(), ts[:], 0)
	}
	// Without a path, the call is futimens, which package unix does not have.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(p.fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
