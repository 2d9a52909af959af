package kopia

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"
)

var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

const holeSize = 4096

var zeros [holeSize]byte

// file writes a file. Its name waits for the disk, unless other names are to be linked to it.
func (r *restorer) file(ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry, rec *record) error {
	linked := rec != nil && rec.link != nil
	move, err := r.make(dfd, rel, name, changed(de, rec), func(n string) error {
		fd, err := unix.Openat(dfd, n, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		database, err := r.content(ctx, fd, de)
		if err == nil {
			if database {
				r.databases.Store(rel, nil)
			}
			r.setAttrs(place{fd: fd, rel: rel}, de, rec)
			if linked {
				err = unix.Fdatasync(fd)
			}
		}
		return firstError(err, unix.Close(fd))
	})
	if err != nil {
		return err
	}
	if linked {
		err = move(nil)
		if err == nil {
			r.files.Add(1)
		}
		return err
	}
	r.later(weightOf(de.FileSize), func(disk error) {
		err := move(disk)
		if err == nil {
			r.files.Add(1)
		}
		_ = r.ended(rel, de.FileSize, err)
	})
	return errLater
}

// content writes an object, leaving holes where it is zero. It reports whether the object is a database of SQLite.
func (r *restorer) content(ctx context.Context, fd int, de *snapshot.DirEntry) (database bool, err error) {
	if de.FileSize == 0 {
		return false, nil
	}
	s := sparse{fd: fd, step: r.step}
	defer func() {
		if err != nil { // the file goes, and may be written again
			r.bytes.Add(-s.taken)
		}
	}()
	if err := r.copyObject(ctx, &s, de.ObjectID); err != nil {
		return false, err
	}
	if s.off != de.FileSize {
		return false, fmt.Errorf("content has %d bytes instead of %d: malformed snapshot", s.off, de.FileSize)
	}
	if s.hole {
		r.step()
		return s.database, unix.Ftruncate(fd, s.off)
	}
	return s.database, nil
}

// copyObject writes an object to s. Most objects are a single content, which is written without the copy that a
// reader makes.
func (r *restorer) copyObject(ctx context.Context, s *sparse, oid object.ID) error {
	if id, compressed, single := oid.ContentID(); single && !compressed {
		b, err := r.e.rep.ContentReader().GetContent(ctx, id)
		if errors.Is(err, content.ErrContentNotFound) {
			err = fmt.Errorf("content %v: %w", id, object.ErrObjectNotFound) // as OpenObject returns
		}
		if err != nil {
			return err
		}
		return r.take(s, b)
	}
	rd, err := r.e.rep.OpenObject(ctx, oid)
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	bp := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(bp)
	for {
		n, err := io.ReadFull(rd, bp[:])
		if err := r.take(s, bp[:n]); err != nil {
			return err
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// take counts and writes a part of a file.
func (r *restorer) take(s *sparse, b []byte) error {
	r.bytes.Add(int64(len(b)))
	s.database = s.database || s.taken == 0 && isDatabase(b)
	s.taken += int64(len(b))
	return s.write(b)
}

// sparse writes a file from its start, leaving holes where it is zero.
type sparse struct {
	fd    int
	off   int64
	taken int64
	hole  bool // at the end
	step  func()
	// database is set if the file is a database of SQLite.
	database bool
}

// write appends b. The length of every b but the last is a multiple of holeSize.
func (s *sparse) write(b []byte) error {
	for len(b) > 0 {
		run := nonZero(b)
		if run == 0 {
			z := min(holeSize, len(b))
			s.off, b, s.hole = s.off+int64(z), b[z:], true
			continue
		}
		s.step()
		for w := b[:run]; len(w) > 0; {
			k, err := unix.Pwrite(s.fd, w, s.off)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			s.off, w = s.off+int64(k), w[k:]
		}
		b, s.hole = b[run:], false
	}
	return nil
}

// nonZero returns the length of the leading blocks that hold data, 0 if the first block is zero. The blocks are
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
