package gitstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Reader is a view of one commit.
type Reader interface {
	// Head returns the commit, or zero if the branch does not exist yet.
	Head() plumbing.Hash
	// Lookup returns a file or directory, or ErrNoFile. Compare its hash with BlobHash to find out whether a content
	// is there without reading it.
	Lookup(ctx context.Context, path string) (Entry, error)
	// Prefetch gets what Lookup of these paths needs, with one request for each level of directories, or few. Without
	// it, Lookup makes one for each directory that the store does not have.
	Prefetch(ctx context.Context, paths []string) error
	// ReadFile returns the content of a file, ErrNoFile, or ErrNoBlob. It asks the server for a content that the store
	// does not have yet.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// List returns a directory's entries in Git's order. "" is the root. A missing directory is empty.
	List(ctx context.Context, dir string) ([]Entry, error)
}

// Entry is a file or a directory.
type Entry struct {
	Name string
	Hash plumbing.Hash
	Dir  bool
}

// BlobHash returns the hash of a file with this content.
func BlobHash(content []byte) plumbing.Hash {
	return plumbing.ComputeHash(plumbing.BlobObject, content)
}

// Head returns the commit that the next Commit builds on.
func (s *Store) Head() plumbing.Hash { return locked(s, view.Head) }

// Lookup is Reader.Lookup on Head.
func (s *Store) Lookup(ctx context.Context, path string) (Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{s}.Lookup(ctx, path)
}

// ReadFile is Reader.ReadFile on Head.
func (s *Store) ReadFile(ctx context.Context, path string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{s}.ReadFile(ctx, path)
}

// List is Reader.List on Head.
func (s *Store) List(ctx context.Context, dir string) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{s}.List(ctx, dir)
}

func locked[T any](s *Store, f func(view) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(view{s})
}

// view reads while its caller holds the store's mutex.
type view struct{ s *Store }

func (v view) Head() plumbing.Hash { return v.s.head }

func (v view) Lookup(ctx context.Context, path string) (Entry, error) {
	if !v.s.fetched {
		return Entry{}, errNotFetched
	}
	dir, err := v.s.root()
	if err != nil {
		return Entry{}, err
	}
	if path == "" {
		return Entry{Hash: dir, Dir: true}, nil
	}
	segments := strings.Split(path, "/")
	for i, name := range segments {
		entries, err := v.s.entries(ctx, dir)
		if err != nil {
			return Entry{}, err
		}
		e, ok := find(entries, name)
		last := i == len(segments)-1
		if !ok || (!last && e.Mode != filemode.Dir) {
			break
		}
		if last {
			return Entry{e.Name, e.Hash, e.Mode == filemode.Dir}, nil
		}
		dir = e.Hash
	}
	return Entry{}, fmt.Errorf("%w: %q", ErrNoFile, path)
}

func (v view) Prefetch(ctx context.Context, paths []string) error {
	if !v.s.fetched {
		return errNotFetched
	}
	root, err := v.s.root()
	if err != nil {
		return err
	}
	return v.s.prefetch(ctx, root, directories(paths))
}

func (v view) ReadFile(ctx context.Context, path string) ([]byte, error) {
	e, err := v.Lookup(ctx, path)
	if err != nil {
		return nil, err
	}
	if e.Dir {
		return nil, fmt.Errorf("%w: %q is a directory", ErrNoFile, path)
	}
	blob, err := v.s.objects.read(plumbing.BlobObject, e.Hash)
	if blob == nil && err == nil {
		if err = v.s.fetchFile(ctx, e.Hash); err == nil {
			blob, err = v.s.objects.read(plumbing.BlobObject, e.Hash)
		}
	}
	if err != nil {
		return nil, err
	}
	if blob == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoBlob, path)
	}
	return content(blob)
}

func (v view) List(ctx context.Context, dir string) ([]Entry, error) {
	e, err := v.Lookup(ctx, strings.Trim(dir, "/"))
	if errors.Is(err, ErrNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !e.Dir {
		return nil, fmt.Errorf("%w: %q is a file", ErrNoFile, dir)
	}
	entries, err := v.s.entries(ctx, e.Hash)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(entries))
	for i, e := range entries {
		out[i] = Entry{e.Name, e.Hash, e.Mode == filemode.Dir}
	}
	return out, nil
}

func find(entries []object.TreeEntry, name string) (object.TreeEntry, bool) {
	for _, e := range entries {
		if e.Name == name {
			return e, true
		}
	}
	return object.TreeEntry{}, false
}
