package kopia

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"path"
	"time"

	"github.com/kopia/kopia/fs"
	"golang.org/x/sys/unix"
)

func (f *fileNode) Open(context.Context) (fs.Reader, error) {
	// O_NONBLOCK: a FIFO may have replaced the file.
	fd, err := openNode(&f.node, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, &sourceError{&os.PathError{Op: "open", Path: f.path(), Err: err}}
	}
	r := &fileReader{fd: fd, n: f}
	if err := f.w.fstat(fd, &r.before); err != nil || r.before.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return nil, &sourceError{&os.PathError{Op: "open", Path: f.path(), Err: errors.New("changed its type")}}
	}
	now := f.w.now()
	r.coarse = f.w.isCoarse(&r.before, now, 0)
	r.young = f.w.isYoung(&r.before, now) || f.w.isCoarse(&r.before, now, f.w.skew)
	r.untold = r.coarse || r.young
	r.young = r.young && r.before.Size <= youngAgain
	if f.w.copiedAt.IsZero() {
		r.racyUntil = f.w.racyUntil(&r.before, now)
	} else {
		r.coarse, r.young = false, false // nobody writes to a copy
	}
	if f.w.again || r.racy() || r.coarse || r.young {
		r.sum = sha256.New()
	}
	if !f.begin(&r.before) {
		f.changed() // another file took the name between two parts
	}
	return r, nil
}

// isSame reports whether a file was not written to. A program can set back the time of the last write, but not that of
// the last change.
func (w *walk) isSame(a, b *unix.Stat_t) bool {
	return a.Mtim == b.Mtim && a.Size == b.Size && a.Dev == b.Dev &&
		(w.noInode || a.Ino == b.Ino && a.Ctim == b.Ctim)
}

// racyUntil returns the time until which a write may leave the times of a file unchanged. It is zero where each write
// changes them.
func (w *walk) racyUntil(st *unix.Stat_t, now time.Time) (until time.Time) {
	times := []unix.Timespec{st.Mtim, st.Ctim}
	if w.noInode {
		times = times[:1]
	}
	for _, ts := range times {
		t := time.Unix(ts.Sec, ts.Nsec)
		if end := t.Add(clockStep); now.Sub(t).Abs() < clockStep && end.After(until) {
			until = end
		}
	}
	return until
}

// oneTime is longer than the time in which a file system that knows only whole seconds gives all writes the same
// time. For FAT that is two seconds.
const oneTime = 2100 * time.Millisecond

// isCoarse reports whether a file system that knows only whole seconds may give a later write the times that the file
// has now, by a clock that differs so much. Waiting for the next second would take too long.
func (w *walk) isCoarse(st *unix.Stat_t, now time.Time, skew time.Duration) bool {
	last := st.Ctim
	if w.noInode {
		last = st.Mtim
	}
	if last.Nsec != 0 {
		return false
	}
	return w.isNear(last, now, oneTime+skew) || w.isNear(st.Mtim, now, oneTime+skew)
}

// isNear reports whether a file's time is so close to the moment of which the tree shows the content. For a volume that
// is now, and for a copy some time between copiedAt and now: what was written a little earlier may have changed the
// file's times, and not be in the copy.
func (w *walk) isNear(ts unix.Timespec, now time.Time, within time.Duration) bool {
	t, since := time.Unix(ts.Sec, ts.Nsec), now
	if !w.copiedAt.IsZero() {
		since = w.copiedAt
	}
	return t.After(since.Add(-within)) && t.Before(now.Add(within))
}

// dirtyFor is longer than the kernel keeps a page that was written through a mapping of a file (mmap) in memory: 30 s
// by default, and a few more until the disk has it. As long as it does, further writes to the page leave the times of
// the file unchanged.
var dirtyFor = time.Minute

// youngAgain is the size up to which a young file is read a second time, to see whether it was written to through a
// mapping. Bigger files would take too long, and are not in the memory of the node any more.
const youngAgain = 64 << 20

// isYoung reports whether a later write through a mapping may leave the times that the file has now. Nothing tells
// which files are mapped.
func (w *walk) isYoung(st *unix.Stat_t, now time.Time) bool {
	last := st.Ctim
	if w.noInode {
		last = st.Mtim
	}
	return w.isNear(last, now, w.dirtyFor+w.skew)
}

// changed records that the content which was read may be torn.
func (f *fileNode) changed() {
	f.w.torn.Add(f.size)
	f.dir.stamps.drop(f.stamp)
	rel, p := path.Join(f.dir.rel, f.name), f.path()
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if _, known := f.w.tornFiles[rel]; known {
		return // another part of the file
	}
	if f.w.tornFiles == nil {
		f.w.tornFiles = map[string]string{}
	}
	f.w.tornFiles[rel] = p
	f.w.changed.Add(1)
}

// fileReader notices when a file is written to between Open and Close.
type fileReader struct {
	fd     int
	n      *fileNode
	before unix.Stat_t
	// racyUntil is set where a write now may leave the file's times unchanged.
	racyUntil time.Time
	coarse    bool      // so may a write within the next seconds
	young     bool      // so may a write through a mapping, or by another clock
	untold    bool      // its times may not tell the next backup of a write
	sum       hash.Hash // of size bytes from start on; nil where nobody needs it, or some were read out of order
	start     int64
	size      int64
}

// clockStep is longer than the time in which a file system gives all writes the same time. That is up to 10 ms before
// Linux 6.13, and a write takes its time before it copies its data.
const clockStep = 50 * time.Millisecond

func (r *fileReader) racy() bool { return !r.racyUntil.IsZero() }

// Read implements io.Reader. The size of a file does not tell its end: a file can grow, and some file systems give a
// size that is wrong.
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
			if r.sum != nil {
				r.sum.Write(p[:n])
				r.size += int64(n)
			}
			return n, nil
		}
	}
}

// Seek implements io.Seeker. kopia calls it for the parts of a big file, before it reads.
func (r *fileReader) Seek(o int64, whence int) (int64, error) {
	at, err := unix.Seek(r.fd, o, whence)
	if r.size > 0 || err != nil {
		r.sum = nil
	}
	r.start = at
	return at, err
}

func (r *fileReader) Entry() (fs.Entry, error) { return r.n, nil }

// whole reports whether the file held the bytes that were read at one moment, although it was written to. It reads them
// again and compares. A log that is only appended to is whole.
func (r *fileReader) whole() bool {
	return r.holds(r.read())
}

// torn reports whether the content that was read may be torn. Of a file in parts only the last one to end tells.
func (r *fileReader) torn(doubt bool) bool {
	if p := r.n.parts.Load(); p != nil {
		return p.end(r, doubt)
	}
	return doubt && !r.whole()
}

func (r *fileReader) Close() error {
	if r.fd < 0 {
		return nil
	}
	var after unix.Stat_t
	written := r.n.w.fstatNow(r.fd, &after) != nil || !r.n.w.isSame(&after, &r.before)
	if !written && r.racy() {
		// From then on a write changes the file's times, also for the next backup.
		time.Sleep(r.racyUntil.Sub(r.n.w.now()))
	}
	if r.torn(written || r.racy() || r.coarse || r.young && r.sum != nil) {
		r.n.changed()
	}
	if r.untold {
		r.n.dir.stamps.drop(r.n.stamp) // so that the next backup reads the file again
	}
	err := unix.Close(r.fd)
	r.fd = -1
	return err
}

var errChanged = errors.New("was written to while it was read")

// memFile is the attribute file.
type memFile struct {
	node
	data     []byte
	previous []*previousDir // of its directory
	stamps   *stamps        // of its directory
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
