package kopia

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/kopia/kopia/fs"
	"golang.org/x/sys/unix"
)

func (f *fileNode) Open(context.Context) (fs.Reader, error) {
	// O_NONBLOCK: what was a file may be a FIFO by now.
	fd, err := openNode(&f.node, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, &sourceError{&os.PathError{Op: "open", Path: f.path(), Err: err}}
	}
	r := &fileReader{fd: fd, n: f}
	if err := unix.Fstat(fd, &r.before); err != nil || r.before.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, &sourceError{&os.PathError{Op: "open", Path: f.path(), Err: errors.New("changed its type")}}
	}
	if !f.first.CompareAndSwap(nil, &r.before) && !same(f.first.Load(), &r.before) {
		f.changed() // another file took the name between two parts
	}
	return r, nil
}

func same(a, b *unix.Stat_t) bool {
	return a.Dev == b.Dev && a.Ino == b.Ino && a.Mtim == b.Mtim && a.Size == b.Size
}

// changed notes that what was read may be torn.
func (f *fileNode) changed() {
	f.w.changed.Add(1)
	f.w.problem(f.path(), errChanged)
}

// fileReader notices that a file was written to between its opening and its closing.
type fileReader struct {
	fd     int
	n      *fileNode
	before unix.Stat_t
}

func (r *fileReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(r.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, &sourceError{&os.PathError{Op: "read", Path: r.n.path(), Err: err}}
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (r *fileReader) Seek(o int64, whence int) (int64, error) { return unix.Seek(r.fd, o, whence) }
func (r *fileReader) Entry() (fs.Entry, error)                { return r.n, nil }

func (r *fileReader) Close() error {
	if r.fd < 0 {
		return nil
	}
	var after unix.Stat_t
	if unix.Fstat(r.fd, &after) == nil && !same(&after, &r.before) {
		r.n.changed()
	}
	err := unix.Close(r.fd)
	r.fd = -1
	return err
}

var errChanged = errors.New("was written to while it was read")

// memFile is the attribute file.
type memFile struct {
	node
	data []byte
}

type memReader struct {
	*bytes.Reader
	f *memFile
}

func (m *memFile) Open(context.Context) (fs.Reader, error) {
	return memReader{bytes.NewReader(m.data), m}, nil
}

func (r memReader) Close() error             { return nil }
func (r memReader) Entry() (fs.Entry, error) { return r.f, nil }
