package kopia

import (
	"container/list"
	"context"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/kopia/kopia/repo/blob"
	"golang.org/x/sys/unix"
)

// packFiles keeps the files of the most recently read packs open. kopia opens the file of a pack for each content,
// which takes four system calls in place of two.
type packFiles struct {
	mu   sync.Mutex
	open map[blob.ID]*list.Element
	lru  list.List // holds *packFile values, the most recently used first
}

type packFile struct {
	id     blob.ID
	opened chan struct{} // closed when f is set, or cannot be
	f      *os.File
	asked  int
	gone   bool // dropped
}

// packFilesKept is more than the number of packs that a restore reads at a time.
const packFilesKept = 8

// read reads a part of a pack into out. It reports whether it succeeded. If not, kopia's storage returns the data
// or the right error.
func (p *packFiles) read(id blob.ID, file string, off, n int64, out blob.OutputBuffer) bool {
	f := p.get(id, file)
	if f == nil {
		return false
	}
	bp := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(bp)
	out.Reset()
	for n > 0 {
		k, err := f.ReadAt(bp[:min(n, int64(len(bp)))], off)
		if err != nil && !(err == io.EOF && int64(k) == n) {
			out.Reset()
			return false
		}
		if _, err := out.Write(bp[:k]); err != nil {
			return false
		}
		off, n = off+int64(k), n-int64(k)
	}
	return true
}

// get returns the open file of a pack, or nil if it cannot be opened. Another goroutine may close it at any time;
// then reading from it fails.
func (p *packFiles) get(id blob.ID, file string) *os.File {
	for {
		pf, asked := p.entry(id)
		if asked == 1 {
			return p.fill(pf, file)
		}
		<-pf.opened
		switch {
		case pf.f == nil:
			return nil
		case deleted(pf.f):
			p.forget(pf)
			continue
		case asked == packEnough:
			// The other contents will follow: let the kernel read them from a slow disk in advance.
			if c, err := pf.f.SyscallConn(); err == nil {
				_ = c.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), 0, 0, unix.FADV_WILLNEED) })
			}
		}
		return pf.f
	}
}

// entry returns the entry of a pack, and how often it was asked for. The first to ask opens the file, without the lock:
// a slow disk would hold up the readers of all other packs.
func (p *packFiles) entry(id blob.ID) (_ *packFile, asked int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.open[id]; e != nil {
		pf := e.Value.(*packFile)
		p.lru.MoveToFront(e)
		pf.asked++
		return pf, pf.asked
	}
	for p.lru.Len() >= packFilesKept {
		p.drop(p.lru.Back())
	}
	if p.open == nil {
		p.open = map[blob.ID]*list.Element{}
	}
	pf := &packFile{id: id, opened: make(chan struct{}), asked: 1}
	p.open[id] = p.lru.PushFront(pf)
	return pf, 1
}

// fill opens the file of a new entry.
func (p *packFiles) fill(pf *packFile, file string) *os.File {
	defer close(pf.opened)
	f, err := os.Open(file)
	if err != nil {
		p.forget(pf)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pf.gone {
		_ = f.Close()
		return nil
	}
	pf.f = f
	return f
}

// forget drops an entry, unless that was done already.
func (p *packFiles) forget(pf *packFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !pf.gone {
		p.drop(p.open[pf.id])
	}
}

// deleted reports whether an open file has no name any more, because it was removed or replaced.
func deleted(f *os.File) bool {
	fi, err := f.Stat()
	if err != nil {
		return true
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return !ok || st.Nlink == 0
}

func (p *packFiles) drop(e *list.Element) {
	pf := p.lru.Remove(e).(*packFile)
	delete(p.open, pf.id)
	pf.gone = true
	if pf.f != nil {
		_ = pf.f.Close()
	}
}

func (p *packFiles) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.lru.Len() > 0 {
		p.drop(p.lru.Back())
	}
}

// GetBlob implements blob.Storage. It reads parts of packs from files that stay open.
func (s *localStorage) GetBlob(ctx context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	if n > 0 && isPack(id) && ctx.Err() == nil {
		if _, file, err := s.paths.GetShardedPathAndFilePath(ctx, id); err == nil &&
			s.packs.read(id, file, off, n, out) {
			return nil
		}
	}
	return s.Storage.GetBlob(ctx, id, off, n, out)
}

// Close implements blob.Storage.
func (s *localStorage) Close(ctx context.Context) error {
	s.packs.close()
	return s.Storage.Close(ctx)
}
