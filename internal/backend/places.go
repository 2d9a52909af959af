package backend

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
)

// Place is where another repository or storage lies.
type Place struct {
	// Path of its directory, relative to the bucket or volume; "" is its root.
	Path string
	// Storage reports that it is a storage.
	Storage bool
}

// String names the place for a message.
func (p Place) String() string {
	kind := "the repository"
	if p.Storage {
		kind = "the storage"
	}
	if p.Path == "" {
		return kind + " in the root of the bucket or volume"
	}
	return kind + " in " + p.Path + " of the bucket or volume"
}

// Above returns the repository or storage that has a directory of a storage inside it, or nil. "" is the storage
// itself. The storage that holds the directory does not count, nor do storages around that one: they can be nested.
// Above the prefix of the storage, what the credential is not allowed to read is taken for absent.
func Above(ctx context.Context, s repository.Storage, directory string) (*Place, error) {
	root, err := Open(s.Root())
	if err != nil {
		return nil, err
	}
	prefix := s.Prefix()
	dir, more := prefix, true
	if directory != "" {
		dir, more = parent(path.Join(prefix, directory))
	}
	for ; more; dir, more = parent(dir) {
		names := []string{layout.RepositoryPath("")}
		if len(dir) > len(prefix) {
			names = append(names, layout.StorageMetadataPath())
		}
		for _, name := range names {
			marks, err := isMarker(ctx, root, path.Join(dir, name))
			if inside := len(dir) >= len(prefix); err != nil && (inside || !isHidden(err)) {
				return nil, err
			}
			if err == nil && marks {
				return &Place{Path: dir, Storage: name == layout.StorageMetadataPath()}, nil
			}
		}
	}
	return nil, nil
}

// parent returns the directory that holds dir, and false for the root.
func parent(dir string) (string, bool) {
	if dir == "" {
		return "", false
	}
	if dir = path.Dir(dir); dir == "." {
		dir = ""
	}
	return dir, true
}

// isHidden reports whether a storage said that the credential has nothing to look for in a place. A storage that is
// busy, and one whose error nobody knows, has not said it.
func isHidden(err error) bool {
	return errors.Is(err, repository.ErrAccessDenied) || errors.Is(err, repository.ErrBadCredentials) ||
		code(err) == minio.MethodNotAllowed
}

// isMarker reports whether a file exists that marks a repository or storage.
func isMarker(ctx context.Context, s Store, file string) (bool, error) {
	text, err := s.Get(ctx, file)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && !layout.IsOthers(text), err
}

// Below returns a repository or storage inside a directory of a storage, or nil. A RepositoryMetadata in the directory
// itself does not count.
func Below(ctx context.Context, s repository.Storage, directory string) (*Place, error) {
	store, err := Open(s)
	if err != nil {
		return nil, err
	}
	files, err := store.List(ctx, directory)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if !layout.IsMarker(file) || file == layout.RepositoryPath(directory) {
			continue
		}
		own, err := isComponent(ctx, store, directory, file)
		if err != nil {
			return nil, err
		}
		marks := false
		if !own {
			if marks, err = isMarker(ctx, store, file); err != nil {
				return nil, err
			}
		}
		if marks {
			return &Place{
				Path:    strings.Trim(path.Join(s.Prefix(), path.Dir(file)), "/"),
				Storage: path.Base(file) == layout.StorageMetadataPath(),
			}, nil
		}
	}
	return nil, nil
}

// isComponent reports whether a file with the name of a marker is the ComponentResult of a component of that name.
func isComponent(ctx context.Context, s Store, directory, file string) (bool, error) {
	if _, _, ok := layout.ParseSnapshotComponentPath(directory, file); !ok {
		return false, nil
	}
	text, err := s.Get(ctx, file)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	_, err = layout.ParseComponentResult(text)
	return err == nil, nil
}
