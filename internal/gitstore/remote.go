package gitstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// Remote is a repository on a server, for reading. It is safe for concurrent use. Its errors are *RemoteError,
// ErrURL, ErrAuth or ErrHostKey.
type Remote struct {
	endpoint endpoint
	dialer   dialer
	secrets  secrets
}

// NewRemote checks the URL and the credentials. It does not talk to the server.
func NewRemote(rawURL string, auth Auth) (*Remote, error) {
	ep, err := parseStrict(rawURL)
	if err != nil {
		return nil, err
	}
	if err := auth.fits(ep); err != nil {
		return nil, err
	}
	d, err := newDialer(ep, auth)
	if err != nil {
		return nil, err
	}
	return &Remote{endpoint: ep, dialer: d, secrets: newSecrets(auth)}, nil
}

// URL returns the address without credentials, for messages.
func (r *Remote) URL() string { return r.endpoint.String() }

// Close closes idle connections.
func (r *Remote) Close() { r.dialer.close() }

// List asks for the refs: one request over HTTP, one connection over SSH. The call and everything done with the
// Listing end with ctx. The caller must close the Listing.
func (r *Remote) List(ctx context.Context) (*Listing, error) {
	c, err := r.dialer.dial(ctx, uploadPack)
	if err != nil {
		return nil, r.classify("list refs", err)
	}
	return &Listing{remote: r, conversation: c}, nil
}

// Listing holds the refs of a repository at one moment, and downloads what they name. It is for one goroutine.
type Listing struct {
	remote       *Remote
	conversation conversation
}

// Close closes the connection if the Listing has its own.
func (l *Listing) Close() { _ = l.conversation.Close() }

// Ref returns the object that a ref names and the commit behind it. They differ only for an annotated tag.
func (l *Listing) Ref(name plumbing.ReferenceName) (object, commit plumbing.Hash, ok bool) {
	refs := l.conversation.refs()
	if object, ok = refs.References[name.String()]; !ok {
		return object, commit, false
	}
	if commit, ok = refs.Peeled[name.String()]; !ok {
		commit = object
	}
	return object, commit, true
}

// Tips returns the objects that any server hands out: those that branches and tags name, each once, sorted by hash.
// Over HTTP C git also hands out the commits behind them; over SSH only if that is configured.
func (l *Listing) Tips() []plumbing.Hash {
	var tips []plumbing.Hash
	for name, h := range l.conversation.refs().References {
		if n := plumbing.ReferenceName(name); n.IsBranch() || n.IsTag() {
			tips = append(tips, h)
		}
	}
	plumbing.HashesSort(tips)
	return slices.Compact(tips)
}

// ServesCommits reports whether the server advertises that it hands out any commit behind a ref. Without it the
// server can do so all the same.
func (l *Listing) ServesCommits() bool {
	return l.conversation.refs().Capabilities.Supports(capability.AllowReachableSHA1InWant)
}

// CanFilter reports whether the server can leave out large files.
func (l *Listing) CanFilter() bool {
	return l.conversation.refs().Capabilities.Supports(capability.Filter)
}

// Download says what to get, and how much at most. All sizes are in bytes and must be set.
type Download struct {
	Want      []plumbing.Hash
	Depth     int   // commits of history; 0 means all
	OmitFiles int64 // leave out files of this size and larger; 0 means none. Needs CanFilter
	Pack      int64 // of the answer
	Object    int64 // of one object after decompression
	Unpacked  int64 // of all objects after decompression
	Objects   int   // in the answer; 0 means any number
	TempDir   string
	Reserve   Reserve // asked before the objects are stored; nil means not to ask
}

// Download stores the objects in into. On SSH it can be called only once. ErrNotServed means that the server does not
// hand out the wanted objects, ErrTooLarge that the answer exceeds a limit. In both cases nothing was stored.
func (l *Listing) Download(ctx context.Context, d Download, into storer.Storer) error {
	r := request{want: d.Want, depth: d.Depth}
	if d.OmitFiles > 0 {
		r.filter = packp.FilterBlobLimit(uint64(d.OmitFiles), packp.BlobLimitPrefixNone)
	}
	if err := l.download(ctx, r, d, into); err != nil {
		return l.remote.classify("fetch", err)
	}
	return nil
}

func (l *Listing) download(ctx context.Context, r request, d Download, into storer.Storer) error {
	_, err := fetchPack(ctx, l.conversation, r, d, func(pack io.Reader) error {
		err := packfile.UpdateObjectStorage(into, pack)
		if err != nil && !errors.Is(err, packfile.ErrEmptyPackfile) {
			return fmt.Errorf("%w: store pack: %w", errCorrupt, err)
		}
		return nil
	})
	return err
}
