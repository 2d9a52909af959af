package kopia

import (
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// walk implements kopia's fs interfaces for a live directory tree, in place of kopia's localfs, and records
// attributes in the same pass. It opens every entry relative to the descriptor of its directory: no path is longer
// than a name, and a symbolic link that replaces a directory is not followed.
type walk struct {
	lstat    lstatFunc
	fstat    fstatFunc
	fstatNow fstatFunc
	now      func() time.Time
	dirtyFor time.Duration
	partSize int64         // of the engine
	skew     time.Duration // of the files' clock
	copiedAt time.Time     // zero where the tree is not a copy
	rootDev  uint64
	oneFS    bool
	attrs    bool            // capture attributes
	again    bool            // the tree was read before, and something changed meanwhile
	noInode  bool            // inode and time of the last change do not count
	rep      repo.Repository // of the previous snapshots
	lost     *lost           // what the repository does not have any more
	unread   unreadFunc      // called for a directory of them that can't be read
	progress *progress
	listed   *listedDirs // nil where no entry can move, or where no further walk follows
	open     sync.Map    // path for kopia -> *dirRef of the directories that are being read
	noXattrs atomic.Bool
	entries  atomic.Int64 // entries with attributes
	files    atomic.Int64 // attribute files written
	bytes    atomic.Int64 // their size
	changed  atomic.Int64
	torn     atomic.Int64 // bytes of what changed
	vanished atomic.Int64 // between the listing and the look-up
	hidden   atomic.Int64 // directories that count as vanished, and are there
	same     atomic.Int64 // files that are the same as in a previous snapshot
	sameSize atomic.Int64 // their size

	hardLinks, special, sockets, attrsLost atomic.Int64

	exclude *repository.Selection // nil excludes nothing

	mu        sync.Mutex
	problems  []repository.Problem
	tornFiles map[string]string // paths of those that changed, by their paths for kopia
	left      rules             // without Exclude and Mounts
	// ofRestores are entries of unfinished restores, of which none is in the snapshot.
	ofRestores int64
	ofARestore string // path of the first one
}

// openDir returns a directory that is being read, by its path for kopia.
func (w *walk) openDir(path string) *dirRef {
	if ref, ok := w.open.Load(path); ok {
		return ref.(*dirRef)
	}
	return nil
}

// sourceError marks an error of the source. kopia reports errors of the storage through the same callback, and a
// full disk must not look like an unreadable file.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// newWalk opens root, which may be a symbolic link.
func newWalk(root string, o repository.BackupOptions, lstat lstatFunc) (*walk, *dirNode, error) {
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return nil, nil, &os.PathError{Op: "stat", Path: root, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, nil, &os.PathError{Op: "open", Path: root, Err: unix.ENOTDIR}
	}
	w := &walk{
		lstat: lstat, fstat: fstat, fstatNow: fstatNow, now: time.Now,
		dirtyFor: dirtyFor, partSize: partSize, skew: skewOf(root),
		copiedAt: o.CopiedAt, rootDev: st.Dev, oneFS: o.OneFileSystem, attrs: !o.NoAttributes,
		noInode: o.IgnoreInode, progress: newProgress(repository.BackupOptions{}),
	}
	d := &dirNode{root: root, rel: "."}
	w.fill(&d.node, nil, "", &st)
	d.name, d.size = "data", 0
	return w, d, nil
}

// serverSkew is by how much the clock of a file server may differ from that of the node, as in Kerberos.
const serverSkew = 5 * time.Minute

// skewOf returns by how much the times of files may differ from the clock of the node. Those of a network file system,
// or of one in user space, can come from another machine.
func skewOf(dir string) time.Duration {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return serverSkew
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC,
		unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC,
		unix.OCFS2_SUPER_MAGIC, 0x01161970, 0x0bd00bd0: // and GFS2 and Lustre
		return serverSkew
	}
	return 0
}

func (w *walk) fill(n *node, dir *dirRef, raw string, st *unix.Stat_t) {
	n.w, n.dir, n.raw, n.name = w, dir, raw, encodeName(raw)
	n.mode, n.size = fileMode(st.Mode), st.Size
	n.mtime = time.Unix(st.Mtim.Sec, st.Mtim.Nsec)
	n.owner = fs.OwnerInfo{UserID: st.Uid, GroupID: st.Gid}
	n.dev = st.Dev
	if dir != nil {
		dir.refs.Add(1)
	}
}

func fileMode(m uint32) os.FileMode {
	mode := os.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= os.ModeDir
	case unix.S_IFLNK:
		mode |= os.ModeSymlink
	}
	if m&unix.S_ISUID != 0 {
		mode |= os.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		mode |= os.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		mode |= os.ModeSticky
	}
	return mode
}

// entry looks up one name. Both results are empty where the name vanished or is a socket.
func (w *walk) entry(ref *dirRef, raw string, it *dirIter) (fs.Entry, record) {
	var st unix.Stat_t
	rec := record{name: raw}
	if err := w.lstat(ref.fd, raw, &st); err != nil {
		if w.excludes(ref, raw, false) {
			return nil, record{}
		}
		if err == unix.ENOENT {
			if it != nil {
				it.missing = append(it.missing, raw)
			}
			return nil, record{}
		}
		return w.bad(ref, raw, err), record{}
	}
	typ := st.Mode & unix.S_IFMT
	if w.excludes(ref, raw, typ == unix.S_IFDIR) {
		return nil, record{}
	}
	if w.oneFS && st.Dev != w.rootDev && typ == unix.S_IFDIR {
		w.leaveOut(ref, raw)
		return nil, record{} // the mount point itself is recreated empty by whoever mounts there
	}
	if w.attrs && it != nil && typ != unix.S_IFDIR && typ != unix.S_IFSOCK {
		if st.Nlink > 1 {
			w.hardLinks.Add(1)
			rec.link = &linkID{st.Dev ^ w.rootDev, st.Ino}
		}
		rec.xattrs = w.readXattrs(ref, raw, &it.seen)
		rec.outOfRange(st.Mtim.Sec, st.Mtim.Nsec)
	}
	switch typ {
	case unix.S_IFREG:
		n := &fileNode{}
		w.fill(&n.node, ref, raw, &st)
		n.stamp = stampOf(raw, &st, w.noInode)
		return n, rec
	case unix.S_IFLNK:
		n := &linkNode{}
		w.fill(&n.node, ref, raw, &st)
		return n, rec
	case unix.S_IFDIR:
		n := &dirNode{}
		w.fill(&n.node, ref, raw, &st)
		n.size = 0
		n.rel, n.previous = path.Join(ref.rel, n.name), below(ref.previous, n.name)
		return n, rec
	case unix.S_IFSOCK:
		if it != nil {
			w.sockets.Add(1)
		}
		return nil, record{}
	default:
		if w.attrs && it != nil {
			w.special.Add(1)
			rec.special = &specialRec{
				mode: st.Mode, uid: st.Uid, gid: st.Gid, rdev: st.Rdev, time: timeRec{st.Mtim.Sec, st.Mtim.Nsec},
			}
			rec.time = nil
		}
		return nil, rec
	}
}

// bad returns an entry that cannot be read.
func (w *walk) bad(ref *dirRef, raw string, err error) fs.Entry {
	b := &badNode{err: &sourceError{&os.PathError{Op: "lstat", Path: raw, Err: err}}}
	w.fill(&b.node, ref, raw, &unix.Stat_t{})
	return b
}

type lstatFunc func(fd int, name string, st *unix.Stat_t) error

func fstatat(fd int, name string, st *unix.Stat_t) error {
	for {
		if err := unix.Fstatat(fd, name, st, unix.AT_SYMLINK_NOFOLLOW); err != unix.EINTR {
			return err
		}
	}
}

type fstatFunc func(fd int, st *unix.Stat_t) error

func fstat(fd int, st *unix.Stat_t) error {
	for {
		if err := unix.Fstat(fd, st); err != unix.EINTR {
			return err
		}
	}
}

func (w *walk) problem(p string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.problems) < maxProblems {
		w.problems = append(w.problems, repository.Problem{Path: p, Err: err})
	}
}
