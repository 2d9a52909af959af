package gitstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Fetch makes Head the tip of the remote branch and drops local commits that were not pushed. If nothing moved, it
// costs one small request. Otherwise it gets the least that the server allows: commits alone (trees follow when a
// commit needs them), commits and trees, or everything. The first Fetch has depth 1; later ones get the commits since
// the last.
func (s *Store) Fetch(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.healing(func() error { return s.fetch(ctx) })
}

// healing calls do. If objects in the directory turn out to be damaged or missing, it empties the directory and calls
// do once more.
func (s *Store) healing(do func() error) error {
	err := do()
	if !errors.Is(err, errCorrupt) {
		return err
	}
	if err := s.recycle(); err != nil {
		return err
	}
	return do()
}

func (s *Store) fetch(ctx context.Context) (err error) {
	done := s.observed("fetch")
	defer func() { done(err) }()
	s.fetched, s.fresh, s.alone = false, false, false
	s.head, s.pending = s.base, nil
	if s.overgrown() {
		if err := s.recycle(); err != nil {
			return err
		}
	}
	if err := s.fetchTip(ctx); err != nil {
		return s.remote.classify("fetch", err)
	}
	return nil
}

func (s *Store) fetchTip(ctx context.Context) error {
	c, cctx, done, err := s.conversation(ctx, uploadPack)
	if err != nil {
		return err
	}
	tip := c.refs().References[s.ref.String()]
	s.lazy = nil
	if !s.fullBlobs && c.repeatable() && s.filters && handsOutObjects(c) {
		s.lazy = c
	}
	if tip.IsZero() || tip == s.base {
		done()
	} else {
		err := s.fetchCommits(cctx, c, tip)
		done()
		if s.refusedFilter(err) { // advertised, but configured away
			return s.fetchTip(ctx)
		}
		if err != nil {
			return err
		}
	}
	if err := s.checkHistory(ctx, tip); err != nil {
		return err
	}
	s.alone = tip == s.base
	s.base, s.head, s.fetched = tip, tip, true
	if _, err := s.root(); err != nil { // also proves that the objects are readable
		return err
	}
	return s.save()
}

// fetchCommits stores tip: the commits since base if there is one, else tip alone.
func (s *Store) fetchCommits(ctx context.Context, c conversation, tip plumbing.Hash) error {
	s.objects.packs++
	s.objects.stats.Requests++
	r := request{want: []plumbing.Hash{tip}, have: s.base, filter: s.filter(c)}
	if s.base.IsZero() {
		r.depth = 1
	}
	known, err := s.download(ctx, c, r, s.objects)
	if err != nil || known {
		return err
	}
	// The server does not know our base, so its branch does not continue it. Start over; checkHistory decides what
	// that means.
	s.base = plumbing.ZeroHash
	return fmt.Errorf("%w: the server does not know the base", errCorrupt)
}

// filter returns the filter that fetches least.
func (s *Store) filter(c conversation) packp.Filter {
	switch {
	case s.fullBlobs || !s.filters || !c.refs().Capabilities.Supports(capability.Filter):
		return ""
	case s.lazy != nil:
		return packp.FilterTreeDepth(0)
	default:
		return packp.FilterBlobNone()
	}
}

// refusedFilter records that the server advertises filters but refuses ours.
func (s *Store) refusedFilter(err error) bool {
	var line *pktline.ErrorLine
	if !s.filters || !errors.As(err, &line) || !strings.Contains(line.Text, "filter") {
		return false
	}
	s.filters, s.lazy = false, nil
	return true
}

func handsOutObjects(c conversation) bool {
	caps := c.refs().Capabilities
	return caps.Supports(capability.Filter) && caps.Supports(capability.AllowReachableSHA1InWant)
}

// fetchObjects gets single objects by hash.
func (s *Store) fetchObjects(ctx context.Context, hashes ...plumbing.Hash) error {
	if s.lazy == nil {
		return fmt.Errorf("%w: object %s is missing", errCorrupt, hashes[0])
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.Timeout)
	defer cancel()
	return s.fetchByHash(ctx, s.lazy, hashes...)
}

// fetchByHash stores objects loose: they are few and small, and one pack per request would make every later lookup
// slower.
func (s *Store) fetchByHash(ctx context.Context, c conversation, hashes ...plumbing.Hash) error {
	s.objects.stats.Requests++
	got, remove, err := s.scratch()
	if err != nil {
		return err
	}
	defer remove()
	r := request{want: hashes, filter: packp.FilterTreeDepth(0)} // wanted objects are sent in spite of the filter
	if _, err := s.download(ctx, c, r, got); err != nil {
		return s.remote.classify("fetch objects", err)
	}
	all, err := got.IterEncodedObjects(plumbing.AnyObject)
	if err != nil {
		return fmt.Errorf("%w: read pack: %w", errCorrupt, err)
	}
	return all.ForEach(func(o plumbing.EncodedObject) error {
		_, err := s.objects.write(o)
		return err
	})
}

// download makes one request and stores the pack in into. If have is set and the server does not know it, download
// returns false and stores nothing.
func (s *Store) download(ctx context.Context, c conversation, r request, into storer.Storer) (bool, error) {
	d := Download{
		Pack: s.limits.PackBytes, Object: s.limits.ObjectBytes, Unpacked: math.MaxInt64, Objects: s.limits.Objects,
		TempDir: s.objects.temporary(), Reserve: s.reserve,
	}
	return fetchPack(ctx, c, r, d, func(pack io.Reader) error {
		err := packfile.UpdateObjectStorage(into, pack)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("read pack: %w", err)
		}
		return fmt.Errorf("%w: store pack: %w", errCorrupt, err) // our fault, not the server's
	})
}

// scratch returns a store on the disk for objects that are needed once. They can be too many for the memory.
func (s *Store) scratch() (_ *filesystem.Storage, remove func(), err error) {
	dir, err := os.MkdirTemp(s.objects.temporary(), "tmp_store-")
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	store := filesystem.NewStorageWithOptions(osfs.New(dir, osfs.WithBoundOS()),
		cache.NewObjectLRU(objectCache), filesystem.Options{ExclusiveAccess: true, KeepDescriptors: true})
	return store, func() {
		_ = store.Close()
		_ = os.RemoveAll(dir)
	}, nil
}

// smallFile is the size in bytes below which a file can be read from a server that hands out no single objects. Such
// a server sends all files of the branch that are as small.
const smallFile = 1 << 10

// fetchFile gets the content of a file that the fetch of the branch has left out.
func (s *Store) fetchFile(ctx context.Context, blob plumbing.Hash) error {
	if s.lazy != nil {
		return s.fetchObjects(ctx, blob)
	}
	c, ctx, done, err := s.conversation(ctx, uploadPack)
	if err != nil {
		return s.remote.classify("fetch file", err)
	}
	defer done()
	if handsOutObjects(c) { // over SSH, where each request needs a connection of its own
		return s.fetchByHash(ctx, c, blob)
	}
	if tip := c.refs().References[s.ref.String()]; tip != s.base {
		return s.moved(tip)
	}
	r := request{want: []plumbing.Hash{s.base}, depth: 1}
	if s.filters && c.refs().Capabilities.Supports(capability.Filter) {
		r.filter = packp.FilterBlobLimit(smallFile, packp.BlobLimitPrefixNone)
	}
	s.objects.packs++
	s.objects.stats.Requests++
	if _, err := s.download(ctx, c, r, s.objects); err != nil {
		return s.remote.classify("fetch file", err)
	}
	return nil
}
