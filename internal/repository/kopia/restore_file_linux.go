package kopia

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"
)

var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

const holeSize = 4096

var zeros [holeSize]byte

func (r *restorer) file(ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry, rec *record) error {
	return r.put(dfd, rel, name, changed(de, rec), func(n string) error {
		// Probe for a conflict before reading anything.
		fd, err := unix.Openat(dfd, n, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		err = r.content(ctx, fd, de)
		if err == nil {
			r.setAttrs(place{fd, dfd, n, rel}, de, rec)
		}
		if err2 := unix.Close(fd); err == nil {
			err = err2
		}
		if err != nil {
			unix.Unlinkat(dfd, n, 0)
			if err == unix.EEXIST {
				err = fmt.Errorf("writing: %w", err)
			}
			return err
		}
		r.files.Add(1)
		return nil
	})
}

// content writes an object, leaving holes where it is zero.
func (r *restorer) content(ctx context.Context, fd int, de *snapshot.DirEntry) error {
	if de.FileSize == 0 {
		return nil
	}
	rd, err := r.e.rep.OpenObject(ctx, de.ObjectID)
	if err != nil {
		return err
	}
	defer rd.Close()
	bp := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(bp)
	var off int64
	hole := false
	for {
		n, err := io.ReadFull(rd, bp[:])
		b := bp[:n]
		for len(b) > 0 {
			run := nonZero(b)
			if run == 0 {
				z := min(holeSize, len(b))
				off, b, hole = off+int64(z), b[z:], true
				continue
			}
			for w := b[:run]; len(w) > 0; {
				k, err := unix.Pwrite(fd, w, off)
				if err == unix.EINTR {
					continue
				}
				if err != nil {
					return err
				}
				off, w = off+int64(k), w[k:]
			}
			b, hole = b[run:], false
		}
		r.bytes.Add(int64(n))
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if off != de.FileSize {
		return fmt.Errorf("content has %d bytes instead of %d: malformed snapshot", off, de.FileSize)
	}
	if hole {
		return unix.Ftruncate(fd, off)
	}
	return nil
}

// nonZero returns the length of the leading blocks that hold data, 0 if the first is zero. The blocks are
// aligned in the file because every buffer but the last is full.
func nonZero(b []byte) int {
	n := 0
	for n < len(b) {
		blk := b[n:min(n+holeSize, len(b))]
		if string(blk) == string(zeros[:len(blk)]) {
			break
		}
		n += len(blk)
	}
	return n
}
