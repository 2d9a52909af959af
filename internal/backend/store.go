// Package backend reads and writes the small files that describe a BackupStorage and its repositories. They lie
// beside the backups. Package layout says where they are and what they contain. A Store is safe for concurrent use;
// every call ends within a bounded time.
package backend

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Errors on which a caller branches. All other errors carry a kind of package repository.
var (
	ErrNotFound = errors.New("object not found")
	ErrExists   = errors.New("object exists already")
)

// maxSize bounds what Get reads and Put accepts, in bytes. These files have a few kilobytes.
const maxSize = 4 << 20

// answerTimeout bounds every call, and each page of a List. A storage that does not answer must show in a status;
// nobody waits for it.
const answerTimeout = 15 * time.Second

// Store holds small files under slash-separated paths relative to the storage's prefix. Paths are clean: no "." or
// "..", no empty elements, no control characters. A Store is safe for concurrent use.
type Store interface {
	// Get returns the content, or ErrNotFound.
	Get(ctx context.Context, path string) ([]byte, error)
	// Put writes or replaces a file. Readers see the old or the new content, never a part.
	Put(ctx context.Context, path string, data []byte) error
	// PutIfAbsent writes a file that must not exist, or returns ErrExists. Of several concurrent calls one wins. On
	// S3 that needs a server that knows If-None-Match; otherwise only a file that existed before is sure to be
	// noticed.
	PutIfAbsent(ctx context.Context, path string, data []byte) error
	// List returns the sorted paths of all files below a directory, at any depth. "" means all, including packs of
	// repositories. A missing directory is empty.
	List(ctx context.Context, directory string) ([]string, error)
	// Delete removes a file. On a local storage it also removes directories that become empty. A missing file is no
	// error.
	Delete(ctx context.Context, path string) error
	// DeleteAll removes all files below a directory, at any depth. It refuses the storage itself (""). Files that
	// were removed before an error stay removed.
	DeleteAll(ctx context.Context, directory string) error
}

// Open prepares access. It checks only what it can check without the storage: the first call shows whether the
// storage can be reached.
func Open(storage repository.Storage) (Store, error) {
	if err := storage.Validate(); err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	if storage.Local != nil {
		return &localStore{path: storage.Local.Path, prefix: storage.Prefix()}, nil
	}
	switch {
	case storage.S3 != nil:
		return openS3(*storage.S3, storage.Prefix())
	case storage.GCS != nil || storage.Azure != nil:
		return openCloud(storage)
	}
	return openFiles(storage)
}

// checkPath refuses a path that could leave the prefix or mean different files on different storages.
func checkPath(p string) error {
	switch {
	case p == "":
		return errors.New("path is empty")
	case len(p) > 900: // S3 keys have at most 1024 bytes, including the prefix
		return errors.New("path is too long")
	case !utf8.ValidString(p):
		return fmt.Errorf("path %q is not UTF-8", p)
	case strings.ContainsFunc(p, unicode.IsControl):
		return fmt.Errorf("path %q contains a control character", p)
	case strings.HasPrefix(p, "/"), path.Clean(p) != p, p == ".", p == "..", strings.HasPrefix(p, "../"):
		return fmt.Errorf("path %q is not clean and relative", p)
	}
	return nil
}

// checkPut is checkPath for a file that will be written.
func checkPut(p string, data []byte) error {
	if err := checkPath(p); err != nil {
		return err
	}
	if len(data) > maxSize {
		return fmt.Errorf("%s has %d bytes, the limit is %d", p, len(data), maxSize)
	}
	return nil
}
