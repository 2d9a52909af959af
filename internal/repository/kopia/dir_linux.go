package kopia

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/fs"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// dirRef is an open directory. Its entries hold references because kopia may open them after it closed the
// iterator.
type dirRef struct {
	f      *os.File // has a finalizer: kopia forgets to close entries when it is canceled
	fd     int
	proc   string // /proc/self/fd/N/, the prefix of an entry's path in l*xattr calls
	refs   atomic.Int32
	parent *dirRef
	raw    string
	// What a directory that is backed up has beside that:
	rel      string // the path for kopia
	index    uint32 // among the directories that were listed
	previous []*previousDir
	stamps   *stamps
}

func newDirRef(f *os.File, parent *dirRef, raw string) *dirRef {
	r := &dirRef{f: f, fd: int(f.Fd()), parent: parent, raw: raw}
	r.proc = "/proc/self/fd/" + strconv.Itoa(r.fd) + "/"
	r.refs.Store(1)
	if parent != nil {
		parent.refs.Add(1)
	}
	return r
}

func (r *dirRef) release() {
	for r != nil && r.refs.Add(-1) == 0 {
		_ = r.f.Close()
		r = r.parent
	}
}

func (r *dirRef) path() string {
	if r.parent == nil {
		return r.raw
	}
	return path.Join(r.parent.path(), r.raw)
}

// before returns the directory of a previous snapshot whose text is kept, or nil.
func (r *dirRef) before() *previousDir {
	if len(r.previous) == 0 || r.previous[0].text == nil {
		return nil
	}
	return r.previous[0]
}

// lostAndFound is a directory that ext file systems create in their root. Only root can read it.
const lostAndFound = "lost+found"

func (d *dirNode) SupportsMultipleIterations() bool { return true }

func (d *dirNode) open() (*dirRef, error) {
	var (
		fd  int
		err error
	)
	if d.dir == nil {
		fd, err = unix.Open(d.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	} else {
		fd, err = openNode(&d.node, unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err == unix.EACCES && d.dir != nil && d.dir.parent == nil && d.raw == lostAndFound {
		// The file system keeps nobody's data here: treat the directory as if it had just vanished.
		err = unix.ENOENT
		d.w.hidden.Add(1)
	}
	if err != nil {
		return nil, &sourceError{&os.PathError{Op: "open", Path: d.path(), Err: err}}
	}
	return newDirRef(os.NewFile(uintptr(fd), d.raw), d.dir, d.raw), nil
}

func (d *dirNode) Child(_ context.Context, name string) (fs.Entry, error) {
	ref, err := d.open()
	if err != nil {
		return nil, err
	}
	defer ref.release()
	raw, err := decodeName(name)
	if err != nil {
		return nil, fs.ErrEntryNotFound
	}
	e, _ := d.w.entry(ref, raw, nil)
	if e == nil {
		return nil, fs.ErrEntryNotFound
	}
	return e, nil
}

func (d *dirNode) Iterate(ctx context.Context) (fs.DirectoryIterator, error) {
	ref, err := d.open()
	if err != nil {
		return nil, err
	}
	ref.rel, ref.stamps, ref.previous = d.rel, new(stamps), d.w.previousDirs(ctx, d.previous)
	d.w.open.Store(d.rel, ref)
	d.w.remember(ref)
	// btrfs lists what a directory held when it was opened, or when it was last rewound. What changes after this shows.
	_, _ = ref.f.Seek(0, io.SeekStart)
	it := &dirIter{w: d.w, ref: ref}
	if d.w.attrs {
		self := record{}
		self.xattrs = d.w.readXattrs(ref, "", &it.seen)
		self.outOfRange(d.mtime.Unix(), int64(d.mtime.Nanosecond()))
		it.keep(self)
	}
	return it, nil
}

type dirIter struct {
	w     *walk
	ref   *dirRef
	names []string
	recs  []record
	done  bool
	seen  xattrList
	// missing are names that were listed and then not found; back are the entries of those that were found later.
	missing []string
	back    []fs.Entry
}

func (it *dirIter) Close() {
	for _, e := range it.back {
		e.Close()
	}
	it.ref.release()
}

func (it *dirIter) keep(r record) {
	if !r.empty() {
		it.recs = append(it.recs, r)
	}
}

// outOfRange records a time that does not fit into kopia's nanoseconds since 1970. The limits are whole years.
func (r *record) outOfRange(sec, nsec int64) {
	if sec < minKopiaTime || sec >= maxKopiaTime {
		r.time = &timeRec{sec, nsec}
	}
}

func (it *dirIter) Next(context.Context) (fs.Entry, error) {
	for {
		if len(it.names) == 0 {
			names, err := it.ref.f.Readdirnames(256)
			if len(names) == 0 {
				if err != nil && !errors.Is(err, io.EOF) {
					return nil, &sourceError{err}
				}
				if e, err := it.missed(); e != nil || err != nil {
					return e, err
				}
				return it.last()
			}
			it.names = names
		}
		raw := it.names[0]
		it.names = it.names[1:]
		if repository.IsOfARestore(raw) {
			it.w.leaveOutOfRestore(it.ref, raw)
			continue
		}
		e, rec := it.w.entry(it.ref, raw, it)
		it.keep(rec)
		if e != nil {
			return e, nil
		}
	}
}

// errListed must not be os.ErrNotExist: that means an entry which was deleted.
var errListed = errors.New("is listed, but cannot be found")

// maxLooks limits how often a listed name is looked up until it is found. There is no pause between the tries: they
// are for programs that replace a file again and again.
const maxLooks = 5

// missed looks again for names that were listed and then not found. A name that is no longer listed was deleted. A
// listed name that is found now was replaced. A listed name that still cannot be found is data that cannot be read.
func (it *dirIter) missed() (fs.Entry, error) {
	for look := 1; len(it.missing) > 0; look++ {
		listed, err := it.ref.names()
		if err != nil {
			return nil, &sourceError{err}
		}
		missing := it.missing
		it.missing = nil
		for _, raw := range missing {
			it.lookAgain(raw, listed[raw], look)
		}
	}
	if len(it.back) == 0 {
		return nil, nil
	}
	e := it.back[0]
	it.back = it.back[1:]
	return e, nil
}

// lookAgain looks up one missing name. A name that is still missing is recorded again.
func (it *dirIter) lookAgain(raw string, listed bool, look int) {
	switch {
	case !listed:
		it.w.vanished.Add(1)
		it.w.leaveOut(it.ref, raw)
		return
	case look > maxLooks:
		it.back = append(it.back, it.w.bad(it.ref, raw, errListed))
		return
	}
	e, rec := it.w.entry(it.ref, raw, it)
	it.keep(rec)
	if e != nil {
		it.back = append(it.back, e)
	}
}

// names returns the names in the directory, listed from its start.
func (r *dirRef) names() (map[string]bool, error) {
	fd, err := unix.Openat(r.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, nil // the directory is gone with all its entries
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: r.path(), Err: err}
	}
	f := os.NewFile(uintptr(fd), r.raw)
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listed := make(map[string]bool, len(names))
	for _, n := range names {
		listed[n] = true
	}
	return listed, nil
}

// openNode opens an entry of a directory. It returns ENOENT only where the entry no longer exists.
func openNode(n *node, flags int) (int, error) {
	for try := 0; ; try++ {
		fd, err := unix.Openat(n.dir.fd, n.raw, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != unix.ENOENT {
			return fd, err
		}
		if err := n.w.lstat(n.dir.fd, n.raw, &unix.Stat_t{}); err != nil {
			return -1, unix.ENOENT
		}
		if try == maxLooks { // the entry may have been replaced in between
			return -1, errListed
		}
	}
}

// last returns the attribute file, if there is one, and then the end.
func (it *dirIter) last() (fs.Entry, error) {
	if it.done || len(it.recs) == 0 {
		return nil, nil
	}
	it.done = true
	b := encodeAttrs(it.recs)
	it.w.entries.Add(int64(len(it.recs)))
	it.w.files.Add(1)
	it.w.bytes.Add(int64(len(b)))
	it.recs = nil
	return &memFile{node: node{
		w: it.w, raw: attrName, name: attrName, mode: 0o600, size: int64(len(b)), mtime: time.Unix(0, attrStamp(b)),
	}, data: b, previous: it.ref.previous, stamps: it.ref.stamps}, nil
}
