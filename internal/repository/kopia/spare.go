package kopia

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"
)

const (
	keyBlob = blob.ID(format.KopiaRepositoryBlobID)
	// spareBlob is layout.SpareKey, which a wipe removes first. No driver knows the layout: a test compares them.
	spareBlob = blob.ID("kopia.key.copy")
	// spareAge is how old the spare key gets. A rule that expires old files, after a month or later, never takes it.
	spareAge = 7 * 24 * time.Hour
	// maxKey is more than a key and its spare can have: kopia's has a kilobyte or so.
	maxKey = 1 << 20
)

// errNoKey is why something can't be a key.
var errNoKey = errors.New("it has more than 1 MiB")

// spareKey reads the spare key where the storage has lost the key, or a part of it. Only keep writes. The key is the
// format blob, which kopia writes once and keeps nowhere else: without it no data can be read. The other blob that
// kopia writes only once, with the retention of the storage, has nothing in it, and kopia does without it.
type spareKey struct {
	blob.Storage
	mu sync.Mutex
	// opened is the first key that was read: the one with which the repository was opened.
	opened []byte
	lost   bool // opened is the spare key
}

// GetBlob implements blob.Storage.
func (s *spareKey) GetBlob(ctx context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	if id != keyBlob || off != 0 || n >= 0 {
		return s.Storage.GetBlob(ctx, id, off, n, out)
	}
	key, lost, err := s.read(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.opened == nil {
		s.opened, s.lost = key, lost
	}
	s.mu.Unlock()
	out.Reset()
	_, err = out.Write(key)
	return err
}

// read returns the key, or the spare key if there is no key, or only a part of it.
func (s *spareKey) read(ctx context.Context) (key []byte, lost bool, _ error) {
	key, err := wholeBlob(ctx, s.Storage, keyBlob)
	switch {
	case err == nil && isKey(key):
		return key, false, nil
	case err != nil && !errors.Is(err, blob.ErrBlobNotFound):
		return nil, false, err
	}
	spare, serr := wholeBlob(ctx, s.Storage, spareBlob)
	switch {
	case serr == nil && isKey(spare):
		return spare, true, nil
	case serr == nil, errors.Is(serr, blob.ErrBlobNotFound), errors.Is(serr, errNoKey):
		return key, false, err // kopia says what is wrong with it
	}
	return nil, false, serr
}

func isKey(text []byte) bool {
	_, err := format.ParseKopiaRepositoryJSON(text)
	return err == nil
}

// KeyLost reports whether the storage had no whole key when the repository was opened, so the spare key opened it.
func (e *repoEngine) KeyLost() bool {
	e.spare.mu.Lock()
	defer e.spare.mu.Unlock()
	return e.spare.lost
}

// KeepKey brings the key back, or keeps the spare key whole and young.
func (e *repoEngine) KeepKey(ctx context.Context) (written bool, err error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	written, err = e.spare.keep(ctx, e.now())
	return written, classify("keep the key", cause(ctx, err))
}

// keep writes only what has opened the repository.
func (s *spareKey) keep(ctx context.Context, now time.Time) (written bool, _ error) {
	s.mu.Lock()
	opened, lost := s.opened, s.lost
	s.mu.Unlock()
	spare, err := wholeBlob(ctx, s.Storage, spareBlob)
	if err != nil && (lost || !errors.Is(err, blob.ErrBlobNotFound) && !errors.Is(err, errNoKey)) {
		return false, err // A wipe removes the spare key first, and what it removes does not come back.
	}
	key, kerr := wholeBlob(ctx, s.Storage, keyBlob)
	if lost && errors.Is(kerr, blob.ErrBlobNotFound) {
		err = putNew(ctx, s.Storage, keyBlob, opened)
		return err == nil, err
	}
	if kerr != nil {
		return false, kerr
	}
	if !bytes.Equal(key, opened) {
		return false, nil // Somebody changed the password meanwhile. The next maintenance keeps this key.
	}
	if err == nil && bytes.Equal(spare, key) {
		m, err := s.GetMetadata(ctx, spareBlob)
		if age := now.Sub(m.Timestamp); err == nil && age.Abs() < spareAge {
			return false, nil
		}
	}
	err = s.PutBlob(ctx, spareBlob, byteSlice(key), blob.PutOptions{})
	return err == nil, err
}

// putNew writes a blob that does not exist. Not every storage can refuse to replace one: there, nobody else must write
// it at the same moment.
func putNew(ctx context.Context, st blob.Storage, id blob.ID, data []byte) error {
	err := st.PutBlob(ctx, id, byteSlice(data), blob.PutOptions{DoNotRecreate: true})
	if errors.Is(err, blob.ErrUnsupportedPutBlobOption) {
		err = st.PutBlob(ctx, id, byteSlice(data), blob.PutOptions{})
	}
	if errors.Is(err, blob.ErrBlobAlreadyExists) {
		return nil
	}
	return err
}

// wholeBlob reads a key. Anybody who can write to the storage can put in something else, of any size.
func wholeBlob(ctx context.Context, st blob.Storage, id blob.ID) ([]byte, error) {
	var b byteBuffer
	if m, err := st.GetMetadata(ctx, id); err != nil {
		return nil, err
	} else if m.Length > maxKey {
		return nil, fmt.Errorf("%s is no key: %w", id, errNoKey)
	}
	if err := st.GetBlob(ctx, id, 0, -1, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// byteBuffer implements blob.OutputBuffer.
type byteBuffer struct{ bytes.Buffer }

// Length implements blob.OutputBuffer.
func (b *byteBuffer) Length() int { return b.Len() }

// byteSlice implements blob.Bytes.
type byteSlice []byte

// Length implements blob.Bytes.
func (b byteSlice) Length() int { return len(b) }

// WriteTo implements io.WriterTo.
func (b byteSlice) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b)
	return int64(n), err
}

// Reader implements blob.Bytes.
func (b byteSlice) Reader() io.ReadSeekCloser { return nopCloser{bytes.NewReader(b)} }

type nopCloser struct{ io.ReadSeeker }

// Close implements io.Closer.
func (nopCloser) Close() error { return nil }
