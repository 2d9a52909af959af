package kopia

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// An entry can move during a backup, from a directory that is not listed yet into one that was. It exists at each
// moment, and the backup does not see it. But both directories have new times then. So a backup looks once more at all
// directories that it listed.

// listedDirs remembers what the directories of a walk were like before they were listed. There can be hundreds of
// thousands of them.
type listedDirs struct {
	mu    sync.Mutex
	all   []listedDir
	names []byte       // of all, each with a NUL at its end
	racy  atomic.Int64 // directories that changed also while it waited
	calm  atomic.Int64 // directories with a stamp
}

// maxRacy is the number of directories after which a walk no longer waits for those that have just changed.
const maxRacy = 64

// useless reports whether the times of directories say nothing: the file system gives each directory the present time.
// A busy file system has calm directories beside the others. (A walk that is held up can take one for calm.)
func (l *listedDirs) useless() bool {
	racy := l.racy.Load()
	return racy >= maxRacy && l.calm.Load() <= racy/1000
}

// listedDir is one directory. The first is the root, which is its own parent.
type listedDir struct {
	parent, name uint32 // index in all, and in names
	stamp        uint64 // 0 where a later change may not show
}

// add appends a directory and returns its index.
func (l *listedDirs) add(parent uint32, raw string, stamp uint64) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	index := uint32(len(l.all))
	l.all = append(l.all, listedDir{parent: parent, name: uint32(len(l.names)), stamp: stamp})
	l.names = append(append(l.names, raw...), 0)
	return index
}

// path returns the path of a directory below the root.
func (l *listedDirs) path(i uint32) string {
	var elements []string
	for ; i != l.all[i].parent; i = l.all[i].parent {
		name := l.names[l.all[i].name:]
		elements = append(elements, string(name[:bytes.IndexByte(name, 0)]))
	}
	slices.Reverse(elements)
	return strings.Join(elements, "/")
}

// remember notes what an open directory is like. It waits where it changed so recently that another change could leave
// its times as they are.
func (w *walk) remember(ref *dirRef) {
	if w.listed == nil {
		return
	}
	var st unix.Stat_t
	var stamp uint64
	err := fstat(ref.fd, &st)
	until := w.racyUntil(&st, time.Now())
	if err == nil && !until.IsZero() && w.listed.racy.Load() < maxRacy {
		time.Sleep(time.Until(until))
		err = fstat(ref.fd, &st)
	}
	switch now := time.Now(); {
	case err != nil:
	case !w.racyUntil(&st, now).IsZero():
		w.listed.racy.Add(1)
	case !w.isCoarse(&st, now):
		stamp = stampOf("", &st, w.noInode)
		w.listed.calm.Add(1)
	}
	var parent uint32
	if ref.parent != nil {
		parent = ref.parent.index
	}
	ref.index = w.listed.add(parent, ref.raw, stamp)
}

// restless reports whether the snapshot may lack an entry that was there all the time: something vanished during the
// walk, or a directory changed since it was listed. It gives up if ctx ends.
func (w *walk) restless(ctx context.Context, root string) bool {
	if w.vanished.Load()+w.progress.vanished.Load() > w.hidden.Load() {
		return true
	}
	if w.listed == nil || w.listed.useless() {
		return false
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer func() { _ = unix.Close(fd) }()
	for i, d := range w.listed.all {
		if ctx.Err() != nil {
			return false
		}
		var st unix.Stat_t
		if statBeneath(fd, w.listed.path(uint32(i)), &st) != nil || stampOf("", &st, w.noInode) != d.stamp {
			return true
		}
	}
	return false
}

// statBeneath describes a directory, which may have a path of any length.
func statBeneath(root int, rel string, st *unix.Stat_t) error {
	if len(rel) < unix.PathMax {
		return statNow(root, rel, st)
	}
	fd, err := openBeneath(root, rel)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return statNow(fd, "", st)
}

// fstatNow describes an open file as its server knows it.
func fstatNow(fd int, st *unix.Stat_t) error { return statNow(fd, "", st) }

// statNow describes an entry of a directory, or the directory itself if name is empty. It asks the server of a network
// file system, where fstat may tell what this node remembers.
func statNow(fd int, name string, st *unix.Stat_t) error {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_STATX_FORCE_SYNC
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	for {
		var x unix.Statx_t
		switch err := unix.Statx(fd, name, flags, unix.STATX_BASIC_STATS, &x); {
		case err == unix.EINTR:
		case err == unix.ENOSYS || err == unix.EINVAL || err == unix.EPERM: // an old kernel, or an old seccomp profile
			if name == "" {
				return fstat(fd, st)
			}
			return fstatat(fd, name, st)
		case err != nil:
			return err
		default:
			*st = unix.Stat_t{
				Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino, Mode: uint32(x.Mode), Uid: x.Uid, Gid: x.Gid,
				Size: int64(x.Size), Mtim: unix.Timespec{Sec: x.Mtime.Sec, Nsec: int64(x.Mtime.Nsec)},
				Ctim: unix.Timespec{Sec: x.Ctime.Sec, Nsec: int64(x.Ctime.Nsec)},
			}
			return nil
		}
	}
}
