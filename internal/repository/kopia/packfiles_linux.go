package kopia

import (
	"container/list"
	"context"
	"io"
	"os"
	"sync"

	"github.com/kopia/kopia/repo/blob"
	"golang.org/x/sys/unix"
)

// packFiles keeps the files of the most recently read packs open. kopia opens the file of a pack for each content,
// which takes four system calls in place of two.
type packFiles struct {
	mu   sync.Mutex
	open map[blob.ID]*list.Element
	lru  list.List // of *packFile, most recent first
}

type packFile struct {
	id    blob.ID
	f     *os.File
	asked int
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
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.open[id]; e != nil {
		pf := e.Value.(*packFile)
		if !deleted(pf.f) {
			p.lru.MoveToFront(e)
			if pf.asked++; pf.asked == packEnough {
				// The other contents will follow: let the kernel read them from a slow disk in advance.
				_ = unix.Fadvise(int(pf.f.Fd()), 0, 0, unix.FADV_WILLNEED)
			}
			return pf.f
		}
		p.drop(e)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	for p.lru.Len() >= packFilesKept {
		p.drop(p.lru.Back())
	}
	if p.open == nil {
		p.open = map[blob.ID]*list.Element{}
	}
	p.open[id] = p.lru.PushFront(&packFile{id: id, f: f, asked: 1})
	return f
}

// deleted reports whether an open file has no name any more, because it was removed or replaced.
func deleted(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) != nil || st.Nlink == 0
}

func (p *packFiles) drop(e *list.Element) {
	pf := p.lru.Remove(e).(*packFile)
	delete(p.open, pf.id)
	_ = pf.f.Close()
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
