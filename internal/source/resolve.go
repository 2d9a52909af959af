package source

import (
	"context"
	"errors"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Resolve asks which revision ref stands for now. It costs one request over HTTP or one connection over SSH, and
// nothing for a commit, whose revision can't change. It ends with ctx: give ctx a deadline. Errors are of the kinds
// of this package.
func Resolve(ctx context.Context, url string, ref Ref, auth Auth) (Revision, error) {
	remote, err := open(url, auth)
	if err != nil {
		return Revision{}, err
	}
	defer remote.Close()
	name, err := ref.name()
	if err != nil {
		return Revision{}, err
	}
	if name == "" {
		return ref.pinned(), nil
	}
	listing, err := remote.List(ctx)
	if err != nil {
		return Revision{}, explain(remote.URL(), err)
	}
	defer listing.Close()
	_, rev, err := lookup(listing, remote.URL(), ref, name)
	return rev, err
}

// open checks URL and credentials without contacting the server.
func open(url string, auth Auth) (*gitstore.Remote, error) {
	remote, err := gitstore.NewRemote(url, auth)
	switch {
	case errors.Is(err, gitstore.ErrURL):
		return nil, explain("", err)
	case err != nil:
		return nil, secretError(err)
	}
	return remote, nil
}

// lookup returns the object that the ref names, and the revision behind it.
func lookup(l *gitstore.Listing, url string, ref Ref, name plumbing.ReferenceName) (plumbing.Hash, Revision, error) {
	object, commit, ok := l.Ref(name)
	if !ok {
		kind := "branch"
		if name.IsTag() {
			kind = "tag"
		}
		return object, Revision{},
			fail(ErrRefNotFound, "%s %q does not exist in %s: check spec.ref and the repository", kind,
				ref.short(), url)
	}
	return object, Revision{Name: ref.short(), Hash: commit.String()}, nil
}
