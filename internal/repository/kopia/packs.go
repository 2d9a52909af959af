package kopia

import (
	"container/list"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo/blob"
)

// packReader reads whole packs where kopia asks for one content after the other. Without it a restore of small
// files makes one request per file. kopia's own data cache writes a file per content, which costs more than it
// saves in a process that restores once, so a restore is best opened without a cache directory.
//
// A pack is read in ranges, several at a time, because one connection to a bucket is slow. A content is available
// as soon as its ranges are, so a restore works on the first ranges of a pack while the others arrive.
type packReader struct {
	blob.Storage
	direct  bool         // the storage reads parts of packs as cheaply as whole packs: never read whole packs
	on      atomic.Int32 // running restores and verifications; data packs are read whole only for them
	fetches sync.WaitGroup
	mu      sync.Mutex
	seen    map[blob.ID]*pack
	lru     list.List // of *pack with data, most recent first
	dropped int       // dropped packs that are still in use, so that their memory is not free
	free    [][]byte  // memory of dropped packs for the next packs: with the garbage collector it would double
}

type pack struct {
	id     blob.ID
	asked  int // requests since the pack was dropped last
	enough int // requests after which the pack is read whole; doubles each time it was dropped hardly used
	served int64
	users  int         // running readers and fetches
	gone   atomic.Bool // dropped
	large  bool        // never read whole
	elem   *list.Element
	sized  chan struct{} // closed when data has its length, or err is set
	data   []byte
	parts  []packPart
	err    error
}

// packPart is a range of a pack.
type packPart struct {
	ready chan struct{} // closed when the range was read, or err is set
	err   error
}

const (
	packsKept  = 4 // of about 20 MiB each
	packEnough = 3
	packAlloc  = 23 << 20 // more than a usual pack
	packRange  = 4 << 20
	packAtOnce = 4             // ranges of one pack that are read in parallel
	packMax    = 64 << 20      // the size is what the storage says: no pack above it is read whole
	packsHeld  = 2 * packsKept // with dropped packs that are still in use
)

func (p *packReader) begin() func() {
	p.on.Add(1)
	return func() {
		if p.on.Add(-1) == 0 {
			p.mu.Lock()
			defer p.mu.Unlock()
			for p.lru.Len() > 0 {
				p.drop(p.lru.Remove(p.lru.Back()).(*pack))
			}
			p.seen, p.free = nil, nil
		}
	}
}

// Close implements blob.Storage. It waits for fetches of operations that are over.
func (p *packReader) Close(ctx context.Context) error {
	p.fetches.Wait()
	return p.Storage.Close(ctx)
}

// isPack reports whether a blob is a pack of contents: its bytes never change.
func isPack(id blob.ID) bool { return id != "" && (id[0] == 'p' || id[0] == 'q') }

func (p *packReader) GetBlob(ctx context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	if n <= 0 || p.direct || !isPack(id) || id[0] == 'p' && p.on.Load() == 0 {
		return p.Storage.GetBlob(ctx, id, off, n, out)
	}
	pk := p.lookup(ctx, id, off)
	if pk == nil {
		return p.Storage.GetBlob(ctx, id, off, n, out)
	}
	part, err := pk.wait(ctx, off, n)
	if err != nil {
		p.release(pk, 0)                               // a slow answer must not hold its memory
		return p.Storage.GetBlob(ctx, id, off, n, out) // it returns the right error
	}
	defer p.release(pk, n)
	out.Reset()
	_, err = out.Write(part)
	return err
}

var (
	errNoPart  = errors.New("the pack is shorter than its index says")
	errTooBig  = errors.New("the pack is too big to be read whole")
	errDropped = errors.New("the pack was dropped before it was read")
)

// wait waits until a part of a pack was read, and returns it.
func (k *pack) wait(ctx context.Context, off, n int64) ([]byte, error) {
	select {
	case <-k.sized:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case k.err != nil:
		return nil, k.err
	case off < 0 || off > int64(len(k.data)) || n > int64(len(k.data))-off:
		return nil, errNoPart
	}
	for i := off / packRange; i <= (off+n-1)/packRange; i++ {
		select {
		case <-k.parts[i].ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := k.parts[i].err; err != nil {
			return nil, err
		}
	}
	return k.data[off : off+n], nil
}

func (p *packReader) release(pk *pack, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pk.served += n
	pk.users--
	p.recycle(pk)
}

func (p *packReader) recycle(pk *pack) {
	if !pk.gone.Load() || pk.users > 0 {
		return
	}
	p.dropped--
	if cap(pk.data) == packAlloc && len(p.free) < packsKept && p.on.Load() > 0 {
		p.free = append(p.free, pk.data[:0])
	}
	pk.data = nil
}

// lookup returns a pack that is read whole. It starts with the range of off. It returns nil until enough parts of
// the pack were asked for.
func (p *packReader) lookup(ctx context.Context, id blob.ID, off int64) *pack {
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
	if pk.asked++; pk.asked < pk.enough || pk.large || !p.room() {
		p.mu.Unlock()
		return nil
	}
	fresh := &pack{id: id, enough: pk.enough, users: 1, sized: make(chan struct{})}
	fresh.elem = p.lru.PushFront(fresh)
	p.seen[id] = fresh
	var mem []byte
	if k := len(p.free); k > 0 {
		mem, p.free = p.free[k-1], p.free[:k-1]
	}
	p.mu.Unlock()

	defer close(fresh.sized)
	p.fetch(ctx, fresh, mem, off)
	return fresh
}

// room drops the pack that was read longest ago, if it must, and reports whether there is memory for another. There is
// none while too many dropped packs are in use.
func (p *packReader) room() bool {
	if p.dropped >= packsHeld-packsKept {
		return false
	}
	for p.lru.Len() >= packsKept {
		p.drop(p.lru.Remove(p.lru.Back()).(*pack))
	}
	return true
}

// fetch gets the size of a pack and starts to read its ranges.
func (p *packReader) fetch(ctx context.Context, pk *pack, mem []byte, off int64) {
	m, err := p.Storage.GetMetadata(ctx, pk.id)
	if err != nil || m.Length <= 0 || off < 0 || off >= m.Length {
		pk.err = firstError(err, errNoPart)
		return
	}
	if m.Length > packMax {
		pk.err = errTooBig
		p.refuse(pk)
		return
	}
	if int64(cap(mem)) < m.Length {
		size := m.Length
		if pk.id[0] == 'p' && size < packAlloc {
			size = packAlloc // the next pack will fit too
		}
		mem = make([]byte, size)
	}
	pk.data = mem[:m.Length]
	pk.parts = make([]packPart, (m.Length+packRange-1)/packRange)
	for i := range pk.parts {
		pk.parts[i].ready = make(chan struct{})
	}
	var next atomic.Int64
	first := off / packRange
	workers := min(packAtOnce, len(pk.parts))
	p.mu.Lock()
	pk.users += workers
	p.mu.Unlock()
	for range workers {
		p.fetches.Go(func() {
			defer p.release(pk, 0)
			for i := next.Add(1) - 1; i < int64(len(pk.parts)); i = next.Add(1) - 1 {
				p.part(ctx, pk, (first+i)%int64(len(pk.parts)))
			}
		})
	}
}

// part reads a range of a pack.
func (p *packReader) part(ctx context.Context, pk *pack, i int64) {
	part := &pk.parts[i]
	defer close(part.ready)
	if pk.gone.Load() {
		part.err = errDropped // its readers ask for what they need: its memory is for other packs
		return
	}
	lo, hi := i*packRange, min((i+1)*packRange, int64(len(pk.data)))
	b := partBuffer{room: pk.data[lo:hi:hi]}
	if part.err = p.Storage.GetBlob(ctx, pk.id, lo, hi-lo, &b); part.err == nil && b.n != len(b.room) {
		part.err = errNoPart
	}
}

// drop forgets the data of a pack. Its memory is reused when the last reader is done.
func (p *packReader) drop(pk *pack) {
	pk.gone.Store(true)
	p.dropped++
	defer p.recycle(pk)
	next := &pack{id: pk.id, enough: pk.enough}
	select {
	case <-pk.sized:
		if pk.served*4 < int64(len(pk.data)) {
			next.enough *= 2
		}
	default:
	}
	p.seen[pk.id] = next
}

// refuse drops a pack that is too big, and remembers that it is.
func (p *packReader) refuse(pk *pack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[pk.id] == pk { // not dropped meanwhile
		p.lru.Remove(pk.elem)
		p.drop(pk)
		p.seen[pk.id].large = true
	}
}

// partBuffer is a blob.OutputBuffer of fixed size.
type partBuffer struct {
	room []byte
	n    int
}

// Length implements blob.OutputBuffer.
func (b *partBuffer) Length() int { return b.n }

// Reset implements blob.OutputBuffer.
func (b *partBuffer) Reset() { b.n = 0 }

// Write implements blob.OutputBuffer.
func (b *partBuffer) Write(p []byte) (int, error) {
	k := copy(b.room[b.n:], p)
	b.n += k
	if k < len(p) {
		return k, io.ErrShortBuffer
	}
	return k, nil
}

// ReadFrom implements io.ReaderFrom: it saves io.Copy a buffer in between.
func (b *partBuffer) ReadFrom(r io.Reader) (total int64, _ error) {
	for {
		to := b.room[b.n:]
		if len(to) == 0 {
			to = make([]byte, 1) // only the end is expected
		}
		k, err := r.Read(to)
		total += int64(k)
		if b.n += k; b.n > len(b.room) {
			b.n = len(b.room)
			return total, io.ErrShortBuffer
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
