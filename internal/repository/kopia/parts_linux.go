package kopia

import (
	"bytes"
	"crypto/sha256"
	"io"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// partSize is the size above which kopia reads a file in parts, which can be at the same time. Each part has that size,
// except for the last one, which ends where the file does.
const partSize int64 = 2 << 30

// part is a part of a file as it was read.
type part struct {
	start, size int64
	sum         []byte // nil if it is not known
}

// parts joins what the readers of the parts of a file found out.
type parts struct {
	first unix.Stat_t // as of the first Open
	all   int         // how many there are

	mu    sync.Mutex
	ended []part
	doubt bool // the file may have been written to since the first Open
}

// partsOf returns how many parts kopia reads of a file.
func (w *walk) partsOf(size int64) int {
	if size <= w.partSize {
		return 1
	}
	return int(size/w.partSize) + 1
}

// begin notes that one of several parts is opened. It returns false if another file has taken the name.
func (f *fileNode) begin(st *unix.Stat_t) bool {
	all := f.w.partsOf(f.size)
	if all == 1 {
		return true
	}
	p := f.parts.Load()
	if p == nil {
		if p = (&parts{first: *st, all: all}); !f.parts.CompareAndSwap(nil, p) {
			p = f.parts.Load()
		}
	}
	if p.first.Dev != st.Dev || !f.w.noInode && p.first.Ino != st.Ino {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubt = p.doubt || !f.w.isSame(&p.first, st)
	return true
}

// end notes that a part has ended, and may have been written to. It reports whether the file is torn, once all parts
// have ended. Only then: what is still the same then was there when the last part was read.
func (p *parts) end(r *fileReader, doubt bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubt = p.doubt || doubt
	p.ended = append(p.ended, r.read())
	return p.doubt && len(p.ended) == p.all &&
		(p.gap() || slices.ContainsFunc(p.ended, func(o part) bool { return !r.holds(o) }))
}

// gap reports whether something of the file is missing between the parts, which kopia joins as they are. That happens
// when the file is shorter for a while, as one that is copied over.
func (p *parts) gap() bool {
	var end, sum int64
	for _, o := range p.ended {
		if o.size > 0 {
			end, sum = max(end, o.start+o.size), sum+o.size
		}
	}
	return sum != end
}

// read returns what was read since the reader was opened, or moved to the beginning of its part.
func (r *fileReader) read() part {
	out := part{start: r.start, size: r.size}
	if r.sum != nil {
		out.sum = r.sum.Sum(nil)
	}
	return out
}

// holds reports whether the file holds the bytes of a part. It reads them again.
func (r *fileReader) holds(o part) bool {
	if o.sum == nil {
		return false
	}
	if _, err := unix.Seek(r.fd, o.start, io.SeekStart); err != nil {
		return false
	}
	r.sum, r.size = sha256.New(), 0
	n, err := io.Copy(io.Discard, io.LimitReader(r, o.size)) // Read adds to sum
	return err == nil && n == o.size && bytes.Equal(o.sum, r.sum.Sum(nil))
}
