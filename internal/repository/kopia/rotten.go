package kopia

import (
	"context"
	"crypto/aes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/text"
)

// A disk or a file server can return other bytes than were written. Only who reads them notices, and a backup reads
// nothing back: object stores bill that. So kopia takes for stored what the index names, and every later backup would
// refer to what nobody can read. Once damage of a source is known, its next backup reads each content back before it
// refers to it, and sends the rotten ones again.

// readBack is the contents that a backup reads back.
type readBack struct {
	e     *repoEngine
	since int64 // what was written from then on is not read back; in seconds
	on    atomic.Bool
	// met is set once the backup itself found out that data is rotten.
	met   atomic.Bool
	again atomic.Int64 // rotten contents
	mu    sync.Mutex
	end   func() // of reading whole packs
}

func newReadBack(e *repoEngine, since time.Time) *readBack {
	return &readBack{e: e, since: since.Unix()}
}

// start lets the backup read back what it is about to refer to.
func (r *readBack) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on.Load() {
		return
	}
	r.end = r.e.packs.begin()
	r.on.Store(true)
	if r.e.log != nil {
		r.e.log("warn", "backup", "data of the repository is known to be damaged: what the backup needs of it is read "+
			"back")
	}
}

// stop ends the reading back.
func (r *readBack) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.on.Load() {
		return
	}
	r.on.Store(false)
	r.end()
	if n := r.again.Load(); n > 0 && r.e.log != nil {
		r.e.log("warn", "backup", fmt.Sprintf("%s of the repository came back with other bytes than were written: "+
			"sent again", text.Quantity(n, "piece")))
	}
}

// prove adds a content to the lost ones if it is rotten. It does nothing unless the backup reads contents back. An
// error of the storage fails the backup: nobody knows whether the content is there.
func (l *lost) prove(ctx context.Context, m *content.WriteManager, id content.ID) error {
	r := l.read
	if !r.on.Load() || l.has(id) || r.e.proven.has(id) {
		return nil
	}
	info, err := r.e.rep.ContentInfo(ctx, id) // which does not know what this backup has yet to flush
	switch {
	case errors.Is(err, content.ErrContentNotFound):
		return nil
	case err != nil:
		return err
	case info.Deleted || info.TimestampSeconds >= r.since:
		return nil // it was written since the backup began
	}
	if same, err := isStored(ctx, m, info); err != nil || !same {
		return err
	}
	whole, err := intact(ctx, r.e.rep, info)
	if err != nil {
		return fmt.Errorf("read back content %v: %w", id, err)
	}
	if whole {
		r.e.proven.add(id)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same, err := isStored(ctx, m, info)
	if same && !l.ids[id] {
		l.ids[id] = true
		l.count.Add(1)
		r.again.Add(1)
	}
	return err
}

// isStored reports whether this backup has not sent a content again.
func isStored(ctx context.Context, m *content.WriteManager, info content.Info) (bool, error) {
	now, err := m.ContentInfo(ctx, info.ContentID)
	return err == nil && now.PackBlobID == info.PackBlobID, err
}

// confirms reports whether the storage itself has a rotten part of an object, not only a cache.
func (r *readBack) confirms(ctx context.Context, id object.ID) bool {
	parts, err := r.e.rep.VerifyObject(ctx, id)
	if err != nil {
		return isRotten(err)
	}
	for _, part := range parts {
		info, err := r.e.rep.ContentInfo(ctx, part)
		if err != nil {
			continue
		}
		if whole, err := intact(ctx, r.e.rep, info); err == nil && !whole {
			return true
		}
	}
	return false
}

// unreadFunc takes a directory of a previous snapshot that a walk can't read, and why.
type unreadFunc func(ctx context.Context, id object.ID, err error)

// unread lets the backup read contents back if a directory of a previous snapshot is rotten. Its files are read from
// the source already.
func (b *backup) unread(ctx context.Context, id object.ID, err error) {
	if !isRotten(err) {
		return
	}
	b.e.seen.stale.Store(true)
	if b.lost.read.confirms(ctx, id) {
		b.lost.read.met.Store(true)
		b.lost.read.start()
	}
}

// doubtNext lets the next backup read every file, if this one met rotten data and has taken files from the snapshots
// before it without reading them.
func (b *backup) doubtNext(ctx context.Context, w repo.RepositoryWriter, err error) error {
	took := b.first != nil && b.first.same.Load() > 0
	if !isRotten(err) && (!took || !b.lost.read.met.Load()) {
		return nil
	}
	return doubtAlso(ctx, w, b.src.Name, b.continued, w.Time().Add(clocksDiffer), time.Time{})
}

// intact reports whether the storage returns a content as it was written. It asks no cache.
func intact(ctx context.Context, rep repo.DirectRepository, info content.Info) (bool, error) {
	return opens(ctx, rep.BlobReader(), info, rep.ContentReader().ContentFormat().Encryptor().Decrypt)
}

// buffer is a buffer of kopia. It has a name only within kopia, and so has Bytes.
type buffer[Buffer, Bytes any] interface {
	*Buffer
	blob.OutputBuffer
	Bytes() Bytes
	Close()
}

// opens reports whether a content can be decrypted, which needs each of its bytes: the encryption authenticates them.
func opens[Buffer, Bytes any, B buffer[Buffer, Bytes]](
	ctx context.Context, st blob.Reader, info content.Info, decrypt func(sealed Bytes, iv []byte, into B) error,
) (bool, error) {
	sealed, plain := B(new(Buffer)), B(new(Buffer))
	defer sealed.Close()
	defer plain.Close()
	err := st.GetBlob(ctx, info.PackBlobID, int64(info.PackOffset), int64(info.PackedLength), sealed)
	switch {
	case errors.Is(err, unix.EIO):
		// A disk can't read a block, perhaps never again. What is sent again needs no other part of that disk, and
		// fails itself where all of it is away.
		return false, nil
	case err != nil:
		return false, err
	}
	hash := info.ContentID.Hash()
	return decrypt(sealed.Bytes(), hash[len(hash)-aes.BlockSize:], plain) == nil, nil
}

// rotten and undecryptable match kopia's error for a content that cannot be decrypted, and its cause, which names no
// file. What is missing, or was cut off, is another matter: it may pass, and the next backup sees it in the list of
// packs.
var (
	rotten        = regexp.MustCompile(`invalid checksum at .*: decrypt: `)
	undecryptable = regexp.MustCompile(`^(unable to decrypt content|ciphertext too short): `)
)

// isRotten reports whether an error means that the storage returned other bytes than were written.
func isRotten(err error) bool {
	if err == nil || !rotten.MatchString(err.Error()) {
		return false
	}
	return undecryptable.MatchString(causeOf(err).Error())
}

// causeOf follows an error to its end. Of several branches it takes the last, as package repository puts the cause.
func causeOf(err error) error {
	for {
		var next error
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		case interface{ Unwrap() []error }:
			if branches := e.Unwrap(); len(branches) > 0 {
				next = branches[len(branches)-1]
			}
		}
		if next == nil {
			return err
		}
		err = next
	}
}

// seen is what an engine has seen of data that is rotten.
type seen struct {
	mu sync.Mutex
	// of are the snapshots that lack it.
	of []string
	// stale is set if a cache can have it.
	stale atomic.Bool
}

// saw notes that data of a snapshot is rotten, if err says so.
func (e *repoEngine) saw(id string, err error) {
	if !isRotten(err) {
		return
	}
	e.seen.stale.Store(true)
	e.seen.mu.Lock()
	defer e.seen.mu.Unlock()
	if !slices.Contains(e.seen.of, id) {
		e.seen.of = append(e.seen.of, id)
	}
}

// Rotten returns the snapshots of which a call of this engine got other bytes from the storage than were written.
func (e *repoEngine) Rotten() []string {
	e.seen.mu.Lock()
	defer e.seen.mu.Unlock()
	return slices.Clone(e.seen.of)
}

// dropStale removes the cached data if some of it is rotten. A cache can outlive the process, and does not know that
// the storage has whole data again.
func (e *repoEngine) dropStale() {
	if e.cacheDir == "" || !e.seen.stale.Load() {
		return
	}
	for _, dir := range []string{"contents", "metadata"} {
		_ = os.RemoveAll(filepath.Join(e.cacheDir, dir))
	}
}

// proven remembers contents that were read back, so that each is read once.
type proven struct {
	mu  sync.Mutex
	ids map[uint64]struct{}
}

// provenMost limits the memory to about 20 MiB. Beyond that a content can be read again.
const provenMost = 1 << 20

// provenKey tells contents apart in a fraction of the memory. Their IDs are keyed hashes, so that nobody can choose two
// that are taken for one.
func provenKey(id content.ID) uint64 {
	key := binary.BigEndian.Uint64(id.Hash())
	if p := id.Prefix(); p != "" {
		key ^= uint64(p[0])
	}
	return key
}

func (p *proven) has(id content.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.ids[provenKey(id)]
	return ok
}

func (p *proven) add(id content.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == nil || len(p.ids) >= provenMost {
		p.ids = map[uint64]struct{}{}
	}
	p.ids[provenKey(id)] = struct{}{}
}
