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
)

// dirRef is an open directory. Its entries hold references because kopia may open them after it closed the
// iterator.
type dirRef struct {
	f      *os.File // has a finalizer, should kopia forget to close an entry (it does when canceled)
	fd     int
	proc   string // /proc/self/fd/N/: the way to name an entry to the l*xattr calls
	refs   atomic.Int32
	parent *dirRef
	raw    string
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
		r.f.Close()
		r = r.parent
	}
}

func (r *dirRef) path() string {
	if r.parent == nil {
		return r.raw
	}
	return path.Join(r.parent.path(), r.raw)
}

func (d *dirNode) SupportsMultipleIterations() bool { return true }

func (d *dirNode) open() (*dirRef, error) {
	var (
		fd  int
		err error
	)
	if d.dir == nil {
		fd, err = unix.Open(d.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	} else {
		fd, err = unix.Openat(d.dir.fd, d.raw, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
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
	e, _, err := d.w.entry(ref, raw, nil)
	if e == nil && err == nil {
		err = fs.ErrEntryNotFound
	}
	return e, err
}

func (d *dirNode) Iterate(context.Context) (fs.DirectoryIterator, error) {
	ref, err := d.open()
	if err != nil {
		return nil, err
	}
	it := &dirIter{w: d.w, ref: ref}
	if d.w.attrs {
		self := record{}
		self.xattrs = d.w.readXattrs(ref, "", it)
		it.outOfRange(&self, d.mtime)
		it.keep(self)
	}
	return it, nil
}

type dirIter struct {
	w     *walk
	ref   *dirRef
	names []string
	recs  []record
	list  [1024]byte // scratch for xattr names
	done  bool
}

func (it *dirIter) Close() { it.ref.release() }

func (it *dirIter) keep(r record) {
	if !r.empty() {
		it.recs = append(it.recs, r)
	}
}

func (it *dirIter) outOfRange(r *record, t time.Time) {
	if y := t.UTC().Year(); y < 1678 || y > 2261 {
		r.time = &timeRec{t.Unix(), int64(t.Nanosecond())}
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
				return it.last()
			}
			it.names = names
		}
		raw := it.names[0]
		it.names = it.names[1:]
		e, rec, err := it.w.entry(it.ref, raw, it)
		if err != nil {
			return nil, err
		}
		it.keep(rec)
		if e != nil {
			return e, nil
		}
	}
}

// last yields the attribute file, if there is one, and then the end.
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
	return &memFile{node{w: it.w, raw: attrName, name: attrName, mode: 0o600, size: int64(len(b)), mtime: time.Unix(0, attrStamp(b))}, b}, nil
}
