package source

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Fetch checks out rev below dir and returns it. dir must be empty or not exist. A zero rev means what ref stands
// for now. A submodule is a directory with an empty file .git, as only submodules have one; there is no other .git.
// Symbolic links stay links. Over HTTP it costs two requests, and two more if the server refuses its own filter or
// does not hand out the commit.
//
// On an error dir can hold a part of the revision: throw it away. Errors are of the kinds of this package.
func Fetch(ctx context.Context, url string, ref Ref, auth Auth, rev Revision, dir string, limits Limits) (
	Revision, error,
) {
	rev, _, err := FetchVerified(ctx, url, ref, auth, rev, dir, limits, nil)
	return rev, err
}

// FetchVerified is Fetch for a revision that trusted keys have signed, and returns which. It writes nothing of a
// revision that is not signed as verify says; without verify, it is Fetch.
func FetchVerified(
	ctx context.Context, url string, ref Ref, auth Auth, rev Revision, dir string, limits Limits, verify *Verify,
) (Revision, Signers, error) {
	remote, err := open(url, auth)
	if err != nil {
		return Revision{}, Signers{}, err
	}
	defer remote.Close()
	name, err := ref.name()
	if err != nil {
		return Revision{}, Signers{}, err
	}
	if rev.IsZero() && name == "" {
		rev = ref.pinned()
	}
	if err := makeEmpty(dir); err != nil {
		return Revision{}, Signers{}, err
	}
	// The files lie inside dir, because the caller lets us write nowhere else.
	tmp, err := os.MkdirTemp(dir, ".fetch-")
	if err != nil {
		return Revision{}, Signers{}, fmt.Errorf("create object directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	store := filesystem.NewStorageWithOptions(osfs.New(tmp, osfs.WithBoundOS()),
		cache.NewObjectLRU(16*cache.MiByte), filesystem.Options{ExclusiveAccess: true, KeepDescriptors: true})
	defer func() { _ = store.Close() }()
	f := &fetcher{remote: remote, ref: ref, name: name, rev: rev, store: store, tmp: tmp, limits: limits.withDefaults()}
	if err := f.fetch(ctx); err != nil {
		return Revision{}, Signers{}, err
	}
	release, err := f.reserve(ctx)
	if err != nil {
		return Revision{}, Signers{}, err
	}
	defer release()
	var signers Signers
	if verify != nil {
		if signers, err = f.verify(verify); err != nil {
			return Revision{}, Signers{}, err
		}
	}
	tree, err := f.tree()
	if err != nil {
		return Revision{}, Signers{}, err
	}
	if err := checkout(ctx, store, tree, dir, f.limits); err != nil {
		return Revision{}, Signers{}, err
	}
	return f.rev, signers, nil
}

func makeEmpty(dir string) error {
	if dir == "" {
		return errors.New("check out: no directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create checkout directory: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read checkout directory: %w", err)
	}
	if len(names) > 0 {
		return fmt.Errorf("check out: directory %s is not empty", dir)
	}
	return nil
}

// fetcher gets the objects of one revision.
type fetcher struct {
	remote *gitstore.Remote
	ref    Ref
	name   plumbing.ReferenceName
	rev    Revision
	store  *filesystem.Storage
	tmp    string
	limits Limits
	plain  bool // the server advertises filters and refuses them
	byHash bool // the server promises commits by hash, so that a refusal is final

	tag        plumbing.Hash // what the ref named when it named the revision: a commit, or an annotated tag of it
	signedTree string        // the tree that the verified commit names
}

// fetch downloads the revision. It asks for the commit alone. If the server does not hand that
// out, it asks for the history of the branch or, without a branch, of every branch and tag.
func (f *fetcher) fetch(ctx context.Context) error {
	err := f.download(ctx, f.tip)
	if errors.Is(err, gitstore.ErrNotServed) && !f.byHash {
		err = f.download(ctx, f.history)
	}
	var ours *Error
	if errors.As(err, &ours) {
		return err
	}
	return explain(f.remote.URL(), err)
}

// reserve asks for the memory that the checkout takes: the largest object, some of its deltas, and the names.
func (f *fetcher) reserve(ctx context.Context) (release func(), err error) {
	if f.limits.Reserve == nil {
		return func() {}, nil
	}
	return f.limits.Reserve(ctx, checkoutMemory)
}

func (f *fetcher) noCommit() error {
	return fail(ErrRefNotFound, "commit %s does not exist in %s or is not a commit: check spec.ref and the repository",
		f.rev.Hash, f.remote.URL())
}

// tree returns the tree of the revision.
func (f *fetcher) tree() (*object.Tree, error) {
	commit, err := object.GetCommit(f.store, plumbing.NewHash(f.rev.Hash))
	switch {
	case errors.Is(err, plumbing.ErrObjectNotFound):
		return nil, f.noCommit()
	case err != nil:
		return nil, fmt.Errorf("read commit %s: %w", f.rev.Hash, err)
	case f.signedTree != "" && f.signedTree != commit.TreeHash.String():
		return nil, fail(ErrCommitSignature, "commit %s names two trees: make it with Git", f.rev.Hash)
	}
	return readTree(f.store, commit.TreeHash, "")
}

// download lists the refs each time, because an SSH connection allows only one download.
func (f *fetcher) download(ctx context.Context, choose func(*gitstore.Listing) (gitstore.Download, error)) error {
	listing, err := f.remote.List(ctx)
	if err != nil {
		return err
	}
	defer listing.Close()
	d, err := choose(listing)
	if err != nil {
		return err
	}
	// If the server can leave out large files, they are not downloaded at all. checkout notices and names a missing
	// file.
	if listing.CanFilter() && !f.plain {
		d.OmitFiles = f.limits.FileBytes + 1
	}
	d.Object = f.limits.FileBytes + objectMargin
	d.Unpacked = unpackFactor*f.limits.Bytes + metadata
	d.Pack = d.Unpacked
	d.Objects = maxObjects
	d.TempDir, d.Reserve = f.tmp, f.limits.Reserve
	err = listing.Download(ctx, d, f.store)
	if errors.Is(err, gitstore.ErrRefused) && d.OmitFiles > 0 {
		f.plain = true
		return f.download(ctx, choose)
	}
	return err
}

// tip asks for the revision without history. It asks for an annotated tag by the tag's own object, because that is
// what the server advertises.
func (f *fetcher) tip(l *gitstore.Listing) (gitstore.Download, error) {
	f.byHash = l.ServesCommits()
	want := plumbing.NewHash(f.rev.Hash)
	if f.name != "" {
		object, rev, err := lookup(l, f.remote.URL(), f.ref, f.name)
		if err != nil {
			return gitstore.Download{}, err
		}
		if f.rev.IsZero() {
			f.rev = rev
		}
		want = plumbing.NewHash(f.rev.Hash)
		if f.rev.Hash == rev.Hash {
			want, f.tag = object, object
		}
	}
	return gitstore.Download{Want: []plumbing.Hash{want}, Depth: 1}, nil
}

// history asks for the commits that lead to the revision.
func (f *fetcher) history(l *gitstore.Listing) (gitstore.Download, error) {
	name, depth := f.name, searchDepth
	if name == "" {
		depth = 0
		if f.ref.Branch != "" {
			name = plumbing.NewBranchReferenceName(f.ref.Branch)
		}
	}
	want := l.Tips()
	if name != "" {
		object, rev, err := lookup(l, f.remote.URL(), Ref{Branch: f.ref.Branch, Tag: f.ref.Tag}, name)
		if err != nil {
			return gitstore.Download{}, err
		}
		if f.rev.Hash == rev.Hash {
			f.tag = object
		}
		want = []plumbing.Hash{object}
	}
	if len(want) == 0 {
		return gitstore.Download{}, fail(ErrRefNotFound, "commit %s does not exist in %s: the repository is empty",
			f.rev.Hash, f.remote.URL())
	}
	return gitstore.Download{Want: want, Depth: depth}, nil
}
