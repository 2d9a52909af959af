package gitstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// errLocal marks a fault of this machine's disk.
var errLocal = errors.New("local file")

// Reserve waits until there is memory for so many bytes. The caller calls release when it no longer needs them.
type Reserve func(ctx context.Context, bytes int64) (release func(), err error)

func (r Reserve) take(ctx context.Context, bytes int64) (func(), error) {
	if r == nil {
		return func() {}, nil
	}
	return r(ctx, bytes)
}

// What go-git takes to store a pack: for each object, its cache of the bases of deltas, and how often it has the
// largest
// object at the same time.
const (
	perObject = 400
	baseCache = 96 << 20
	copies    = 6
)

// measured is a pack that is within the limits.
type measured struct {
	objects           int64
	largest, unpacked int64 // bytes
}

// memory returns how many bytes go-git takes at most to store the pack.
func (m measured) memory() int64 {
	return m.objects*perObject + min(m.unpacked, baseCache+copies*m.largest)
}

// fetchPack makes one request, keeps the pack in a file until it is measured, and passes it to store: go-git inflates
// each object in memory, and a kilobyte can inflate to a megabyte. If have is set and the server does not know it,
// fetchPack returns false and does not call store.
func fetchPack(ctx context.Context, c conversation, r request, d Download, store func(io.Reader) error) (bool, error) {
	f, err := os.CreateTemp(d.TempDir, "tmp_pack-")
	if err != nil {
		return false, fmt.Errorf("%w: %w", errLocal, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer func() { _ = f.Close() }()
	known, err := receive(ctx, c, r, d.Pack, writeTo(f))
	if err != nil || !known {
		return known, err
	}
	m, err := measurePack(f, d)
	if err != nil {
		return true, err
	}
	release, err := d.Reserve.take(ctx, m.memory())
	if err != nil {
		return true, err
	}
	defer release()
	return true, store(f)
}

// writeTo returns a sink for receive that copies the pack to a file.
func writeTo(f *os.File) func(*boundedReader) error {
	return func(pack *boundedReader) error {
		_, err := io.Copy(f, pack)
		switch {
		case pack.err != nil:
			return gitError("read pack", pack.err)
		case err != nil:
			return fmt.Errorf("%w: %w", errLocal, err)
		}
		return nil
	}
}

// measurePack adds up the sizes that the objects of a pack will have in memory, and leaves f at its start. The
// scanner itself fails on an object that inflates to more than it declares.
func measurePack(f *os.File, d Download) (m measured, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return m, fmt.Errorf("%w: %w", errLocal, err)
	}
	p := &meter{scanner: packfile.NewScanner(f), limits: d}
	_, count, err := p.scanner.Header()
	if err != nil && !errors.Is(err, packfile.ErrEmptyPackfile) {
		return m, fmt.Errorf("read pack: %w", err)
	}
	if m.objects = int64(count); d.Objects > 0 && m.objects > int64(d.Objects) {
		return m, fmt.Errorf("read pack: %w: it has %d objects, more than %d", ErrTooLarge, count, d.Objects)
	}
	for range count {
		size, err := p.next()
		if err != nil {
			return m, fmt.Errorf("read pack: %w", err)
		}
		m.unpacked, m.largest = m.unpacked+size, max(m.largest, size)
		if size > d.Object || m.unpacked > d.Unpacked {
			return m, fmt.Errorf("read pack: %w: an object has %d bytes, all so far %d", ErrTooLarge, size, m.unpacked)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return m, fmt.Errorf("%w: %w", errLocal, err)
	}
	return m, nil
}

const (
	// maxChain is how many deltas lead to one object. Git makes 50 of them, older versions up to 250. For each, go-git
	// has a buffer.
	maxChain = 250
	// maxDeltas is how many bytes the deltas that lead to one object have together: go-git holds all at the same time.
	maxDeltas = 32 << 20
	// maxWork is how many bytes go-git makes at most to resolve all deltas, if its cache has no base when it needs one.
	// An object of less than worth bytes does not count: the cache has them.
	maxWork = 32 << 30
	worth   = 256 << 10
)

// meter reads the sizes of the objects of a pack, without their content.
type meter struct {
	scanner *packfile.Scanner
	limits  Download
	// chains are the deltas of the pack, by offset in ascending order.
	chains []chain
	// byHash has the deltas whose base is named by its hash, which is not known here: all count as one chain.
	byHash chain
	work   int64 // of all objects so far
}

// chain is what leads to a delta, with itself.
type chain struct {
	offset int64
	length int32 // deltas
	bytes  int64 // of all of them
	work   int64 // bytes of all objects on the way
}

// next reads the next object and returns its size. For a delta it returns the larger of the delta's size and its
// result's size.
func (p *meter) next() (int64, error) {
	header, err := p.scanner.NextObjectHeader()
	if err != nil {
		return 0, err
	}
	if header.Length > p.limits.Object {
		return header.Length, nil
	}
	if header.Type != plumbing.OFSDeltaObject && header.Type != plumbing.REFDeltaObject {
		_, _, err = p.scanner.NextObject(io.Discard)
		return header.Length, err
	}
	c, err := p.chain(header)
	if err != nil {
		return 0, err
	}
	var delta head
	if _, _, err := p.scanner.NextObject(&delta); err != nil {
		return 0, err
	}
	rest := bytes.NewReader(delta.kept)
	if _, err := readSize(rest); err != nil { // the size of the base
		return 0, err
	}
	size, err := readSize(rest)
	if err != nil {
		return 0, err
	}
	if size >= worth {
		c.work += size
	}
	if p.work += c.work; p.work > maxWork {
		return 0, fmt.Errorf("%w: to resolve its deltas takes %d bytes", ErrTooLarge, p.work)
	}
	if p.chains = append(p.chains, c); header.Type == plumbing.REFDeltaObject {
		p.byHash.bytes, p.byHash.work = c.bytes, c.work
	}
	return max(size, header.Length), nil
}

// chain returns the chain of a base with the delta. It does not add the work yet.
func (p *meter) chain(header *packfile.ObjectHeader) (chain, error) {
	c := chain{offset: header.Offset, length: 1, bytes: header.Length}
	if header.Type == plumbing.REFDeltaObject {
		// their number is bounded by go-git: nobody knows how long the chains are
		c.bytes, c.work = c.bytes+p.byHash.bytes, p.byHash.work
	} else if i, ok := p.find(header.OffsetReference); ok {
		c.length, c.bytes, c.work = p.chains[i].length+1, p.chains[i].bytes+header.Length, p.chains[i].work
	}
	if c.length > maxChain || c.bytes > maxDeltas {
		return c, fmt.Errorf("%w: %d deltas of %d bytes lead to an object", ErrTooLarge, c.length, c.bytes)
	}
	return c, nil
}

func (p *meter) find(offset int64) (int, bool) {
	return slices.BinarySearchFunc(p.chains, offset, func(c chain, o int64) int { return cmp.Compare(c.offset, o) })
}

// readSize reads one of the two sizes at the beginning of a delta: seven bits per byte, the lowest first.
func readSize(r io.ByteReader) (size int64, err error) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("delta: %w", err)
		}
		if size |= int64(b&0x7f) << shift; b < 0x80 {
			return size, nil
		}
	}
	return 0, errors.New("delta: size is not a number")
}

// head keeps the first bytes written to it.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), max(0, 32-len(h.kept)))]...)
	return len(p), nil
}
