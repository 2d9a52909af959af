package source

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cairn-backup/cairn/internal/signature"
)

// Verify says which objects of a revision must be signed with a trusted key, and when.
type Verify struct {
	Commit, Tag bool
	Keys        *signature.Keys
	Now         time.Time
}

// Signers are the names of the keys that have signed a revision. They are empty for what was not verified.
type Signers struct{ Commit, Tag string }

// verify returns who has signed the revision, and the hash of the tree that the commit names. It reads nothing of the
// tree. Only the commit that it has verified, or that the verified tag names, is checked out.
func (f *fetcher) verify(v *Verify) (Signers, error) {
	var signers Signers
	if v.Tag {
		tag, err := f.verifyTag(v)
		if err != nil {
			return Signers{}, err
		}
		signers.Tag = tag
	}
	if v.Commit {
		raw, err := f.raw(plumbing.CommitObject, plumbing.NewHash(f.rev.Hash))
		switch {
		case errors.Is(err, plumbing.ErrObjectNotFound):
			return Signers{}, f.noCommit()
		case err != nil:
			return Signers{}, fmt.Errorf("read commit %s: %w", f.rev.Hash, err)
		}
		commit, err := v.Keys.Commit(raw, v.Now)
		if err != nil {
			return Signers{}, fail(ErrCommitSignature, "commit %s %s", f.rev.Hash, err)
		}
		signers.Commit, f.signedTree = commit.Signer, commit.Tree
	}
	return signers, nil
}

// verifyTag verifies the tag of the ref, and that it is the tag of this name and of this commit: a server can answer
// with another tag that was signed once.
func (f *fetcher) verifyTag(v *Verify) (signer string, err error) {
	name := f.ref.Tag
	if f.name == "" || !f.name.IsTag() {
		return "", fail(ErrVerificationMode, "%s is no tag, so no tag can be verified: set ref.tag, or the mode HEAD",
			f.ref.Followed())
	}
	if f.tag.IsZero() {
		return "", fail(ErrTagSignature, "tag %s has moved while Cairn looked at it: Cairn tries again", name)
	}
	raw, err := f.raw(plumbing.TagObject, f.tag)
	switch {
	case errors.Is(err, plumbing.ErrObjectNotFound):
		return "", fail(ErrTagSignature,
			"tag %s is not annotated, so it has no signature: make it with git tag -s, or set the mode HEAD", name)
	case err != nil:
		return "", fmt.Errorf("read tag %s: %w", name, err)
	}
	tag, err := v.Keys.Tag(raw, v.Now)
	switch {
	case err != nil:
		return "", fail(ErrTagSignature, "tag %s %s", name, err)
	case tag.Name != name:
		return "", fail(ErrTagSignature, "tag %s is signed as tag %q: sign the tag under its own name, and find out "+
			"who has renamed it", name, tag.Name)
	case tag.Type != plumbing.CommitObject.String():
		return "", fail(ErrTagSignature, "tag %s is of a %s: make it of a commit", name, tag.Type)
	case tag.Object != f.rev.Hash:
		return "", fail(ErrTagSignature, "tag %s is signed for commit %s, but the server says that it is %s: find "+
			"out who has changed the server", name, tag.Object, f.rev.Hash)
	}
	return tag.Signer, nil
}

// raw returns an object as Git stores it. Its hash, which finds collisions of SHA-1, is computed again: what the
// signature covers must be what was asked for.
func (f *fetcher) raw(kind plumbing.ObjectType, hash plumbing.Hash) ([]byte, error) {
	object, err := f.store.EncodedObject(kind, hash)
	if err != nil {
		return nil, err
	}
	if object.Size() > signature.MaxObject {
		return nil, fail(ErrTooLarge, "%s %s is larger than %d bytes, so its signature is not verified: shorten its "+
			"message", kind, hash, signature.MaxObject)
	}
	r, err := object.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	raw, err := io.ReadAll(io.LimitReader(r, signature.MaxObject+1))
	if err != nil {
		return nil, err
	}
	if plumbing.ComputeHash(kind, raw) != hash {
		return nil, errors.New("its content has another hash")
	}
	return raw, nil
}
