package kopia

import (
	"context"
	"errors"
	"os"
	"path"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/object"
	"golang.org/x/sys/unix"
)

// node is the common part of entries.
type node struct {
	w      *walk
	dir    *dirRef // nil for the root
	raw    string
	name   string
	mode   os.FileMode
	size   int64
	mtime  time.Time
	owner  fs.OwnerInfo
	dev    uint64
	closed atomic.Bool
}

func (n *node) Name() string                { return n.name }
func (n *node) Size() int64                 { return n.size }
func (n *node) Mode() os.FileMode           { return n.mode }
func (n *node) ModTime() time.Time          { return n.mtime }
func (n *node) IsDir() bool                 { return n.mode.IsDir() }
func (n *node) Sys() any                    { return nil }
func (n *node) Owner() fs.OwnerInfo         { return n.owner }
func (n *node) Device() fs.DeviceInfo       { return fs.DeviceInfo{Dev: n.dev} }
func (n *node) LocalFilesystemPath() string { return "" }

func (n *node) Close() {
	if n.dir != nil && !n.closed.Swap(true) {
		n.dir.release()
	}
}

func (n *node) path() string {
	if n.dir == nil {
		return n.raw
	}
	return path.Join(n.dir.path(), n.raw)
}

type (
	fileNode struct {
		node
		parts atomic.Pointer[parts] // nil unless kopia reads it in parts
		stamp uint64
	}
	linkNode struct{ node }
	dirNode  struct {
		node
		root     string
		rel      string      // the path for kopia
		previous []object.ID // the directory in previous snapshots
	}
	badNode struct {
		node
		err error
	}
)

// Close implements fs.Entry. kopia calls it when the directory is written.
func (d *dirNode) Close() {
	d.w.open.Delete(d.rel)
	d.node.Close()
}

func (b *badNode) ErrorInfo() error { return b.err }

func (l *linkNode) Readlink(context.Context) (string, error) {
	for size := max(256, int(l.size)+1); ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(l.dir.fd, l.raw, buf)
		if err != nil {
			return "", &sourceError{&os.PathError{Op: "readlink", Path: l.path(), Err: err}}
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func (l *linkNode) Resolve(context.Context) (fs.Entry, error) { return nil, errors.ErrUnsupported }

var (
	_ fs.Directory  = (*dirNode)(nil)
	_ fs.File       = (*fileNode)(nil)
	_ fs.Symlink    = (*linkNode)(nil)
	_ fs.ErrorEntry = (*badNode)(nil)
	_ fs.File       = (*memFile)(nil)
)
