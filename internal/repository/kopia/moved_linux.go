package kopia

import (
	"bytes"
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/snapshot"
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
	case !w.isCoarse(&st, now, 0): // with the skew of a network file system, no directory would rest for five minutes
		stamp = stampOf("", &st, w.noInode)
		w.listed.calm.Add(1)
	}
	var parent uint32
	if ref.parent != nil {
		parent = ref.parent.index
	}
	ref.index = w.listed.add(parent, ref.raw, stamp)
}

// stirred returns which directories changed since they were listed. If another pass follows, it need not count all.
func (w *walk) stirred(ctx context.Context, root string, last bool) (out rules) {
	if w.listed == nil || w.listed.useless() {
		return out
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return rules{Restless: []string{"."}, More: true, restless: 1}
	}
	defer func() { _ = unix.Close(fd) }()
	for i, d := range w.listed.all {
		var st unix.Stat_t
		rel := w.listed.path(uint32(i))
		if statBeneath(fd, rel, &st) != nil || stampOf("", &st, w.noInode) != d.stamp {
			out.unrest(encodePath(rel))
		}
		if ctx.Err() != nil {
			out.More = true
			break
		}
		if out.More && !last {
			break
		}
	}
	return out
}

// passed is a finished pass.
type passed struct {
	man     *snapshot.Manifest
	walk    *walk
	found   found
	stirred rules // what unrest adds
}

// whole reports whether no file was written to while it was read.
func (p *passed) whole() bool { return p.walk.changed.Load() == 0 }

// restless reports whether the pass may lack an entry that was there all the time: something vanished during the walk,
// or a directory changed since it was listed.
func (p *passed) restless() bool {
	vanished := p.walk.vanished.Load() + p.found.vanished
	return vanished > p.walk.hidden.Load() || len(p.stirred.Restless) > 0 || p.stirred.More
}

// lacks returns how much the pass could not read.
func (p *passed) lacks() int64 { return p.found.unreadable + p.walk.attrsLost.Load() }

// best returns the last pass: what moved before it is in none of the earlier ones. An earlier one is better if it could
// read more. What another pass read whole takes the place of files that the pass met while they were written to: a
// volume can be so busy that no pass meets none.
func (b *backup) best(ctx context.Context, w repo.RepositoryWriter, passes []*passed) (*passed, error) {
	slices.Reverse(passes)
	best := slices.MinFunc(passes, func(x, y *passed) int { return cmp.Compare(x.lacks(), y.lacks()) })
	b.progress.set(best.found)
	m := &mender{rep: w, pass: best, dirs: map[string]bool{}}
	for rel := range best.walk.tornFiles {
		for rel != "." {
			rel = path.Dir(rel)
			m.dirs[rel] = true
		}
	}
	var roots []*snapshot.DirEntry
	for _, p := range passes {
		if p != best {
			m.others = append(m.others, p)
			roots = append(roots, p.man.RootEntry)
		}
	}
	_, err := m.dir(ctx, ".", best.man.RootEntry, roots)
	best.walk.left.merge(best.stirred)
	return best, err
}

// statBeneath describes a directory, which may have a path of any length. It follows no symbolic link that took the
// place of a directory meanwhile.
func statBeneath(root int, rel string, st *unix.Stat_t) error {
	if !strings.Contains(rel, "/") {
		return statNow(root, rel, st)
	}
	fd, err := openBeneath(root, rel, unix.O_PATH)
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
