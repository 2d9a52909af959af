package kopia

import (
	"container/list"
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo/blob"
)

// packReader reads whole packs where kopia asks for one content after the other: a restore of small files
// makes one request per file without it. kopia's own data cache writes a file per content, which costs more
// than it saves in a process that restores once; so a restore is best opened without a cache directory.
type packReader struct {
	blob.Storage
	on   atomic.Int32 // restores and verifications at work; data packs are read whole only for them
	mu   sync.Mutex
	seen map[blob.ID]*pack
	lru  list.List // of *pack with data, most recent first
	free [][]byte  // their memory, for the next one: the collector would let it double
}

type pack struct {
	id     blob.ID
	asked  int // requests since it was dropped last
	enough int // requests that make it worth reading; doubles each time it was dropped hardly used
	served int64
	users  int  // readers at work
	gone   bool // dropped
	elem   *list.Element
	ready  chan struct{} // closed when data or err is there
	data   []byte
	err    error
}

const (
	packsKept  = 4 // of about 20 MiB each
	packEnough = 3
	packAlloc  = 23 << 20 // more than a usual pack
	packStep   = 1 << 20
)

func (p *packReader) begin() func() {
	p.on.Add(1)
	return func() {
		if p.on.Add(-1) == 0 {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.seen, p.lru, p.free = nil, list.List{}, nil
		}
	}
}

func (p *packReader) GetBlob(ctx context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	if n <= 0 || id[0] != 'q' && (id[0] != 'p' || p.on.Load() == 0) {
		return p.Storage.GetBlob(ctx, id, off, n, out)
	}
	pk := p.lookup(ctx, id)
	if pk == nil {
		return p.Storage.GetBlob(ctx, id, off, n, out)
	}
	<-pk.ready
	defer p.release(pk, n)
	if pk.err != nil || off+n > int64(len(pk.data)) {
		return p.Storage.GetBlob(ctx, id, off, n, out) // it knows the right error
	}
	out.Reset()
	_, err := out.Write(pk.data[off : off+n])
	return err
}

func (p *packReader) release(pk *pack, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pk.served += n
	pk.users--
	p.recycle(pk)
}

func (p *packReader) recycle(pk *pack) {
	if pk.gone && pk.users == 0 && cap(pk.data) <= packAlloc+4*packStep && cap(pk.data) >= packAlloc && len(p.free) < packsKept {
		p.free = append(p.free, pk.data[:0])
		pk.data = nil
	}
}

// lookup returns a pack that is, or is being, read whole; nil if it is not worth it yet.
func (p *packReader) lookup(ctx context.Context, id blob.ID) *pack {
	p.mu.Lock()
	if p.seen == nil {
		p.seen = map[blob.ID]*pack{}
	}
	pk := p.seen[id]
	if pk == nil {
		pk = &pack{id: id, enough: packEnough}
		p.seen[id] = pk
	}
	if pk.elem != nil {
		p.lru.MoveToFront(pk.elem)
		pk.users++
		p.mu.Unlock()
		return pk
	}
	if pk.asked++; pk.asked < pk.enough {
		p.mu.Unlock()
		return nil
	}
	for p.lru.Len() >= packsKept {
		p.drop(p.lru.Remove(p.lru.Back()).(*pack))
	}
	fresh := &pack{id: id, enough: pk.enough, users: 1, ready: make(chan struct{})}
	fresh.elem = p.lru.PushFront(fresh)
	p.seen[id] = fresh
	var mem []byte
	if k := len(p.free); k > 0 {
		mem, p.free = p.free[k-1], p.free[:k-1]
	}
	p.mu.Unlock()

	defer close(fresh.ready)
	b := packBuffer{data: mem, first: packStep}
	if id[0] == 'p' {
		b.first = packAlloc
	}
	fresh.err = p.Storage.GetBlob(ctx, id, 0, -1, &b)
	fresh.data = b.data
	return fresh
}

// drop forgets the data of a pack. Its memory is used again when the last reader is done with it.
func (p *packReader) drop(pk *pack) {
	pk.gone = true
	defer p.recycle(pk)
	next := &pack{id: pk.id, enough: pk.enough}
	select {
	case <-pk.ready:
		if pk.served*4 < int64(len(pk.data)) {
			next.enough *= 2
		}
	default:
	}
	p.seen[pk.id] = next
}

// packBuffer takes a pack whose size is not known. It starts as big as is usual and grows in small steps: doubling, as
// bytes.Buffer does, would take twice the memory of most.
type packBuffer struct {
	data  []byte
	first int // bytes to begin with
}

// Length implements blob.OutputBuffer.
func (b *packBuffer) Length() int { return len(b.data) }

// Reset implements blob.OutputBuffer.
func (b *packBuffer) Reset() { b.data = b.data[:0] }

// Write implements blob.OutputBuffer.
func (b *packBuffer) Write(p []byte) (int, error) {
	b.room(len(p))
	b.data = append(b.data, p...)
	return len(p), nil
}

// ReadFrom saves io.Copy a buffer in between.
func (b *packBuffer) ReadFrom(r io.Reader) (total int64, _ error) {
	for {
		b.room(1)
		n, err := r.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// room makes room for n bytes more.
func (b *packBuffer) room(n int) {
	if need := len(b.data) + n; need > cap(b.data) {
		size := b.first
		if cap(b.data) > 0 {
			size = cap(b.data) + cap(b.data)/8 + packStep
		}
		b.data = append(make([]byte, 0, max(size, need)), b.data...)
	}
}
