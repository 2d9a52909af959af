// Package backend reads and writes the small files that describe a BackupStorage and its repositories, beside
// the backups themselves. Package layout says where they are and what is in them.
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

// The outcomes a caller branches on. All other errors carry a kind of package repository.
var (
	ErrNotFound = errors.New("object not found")
	ErrExists   = errors.New("object exists already")
)

// maxSize bounds what Get reads and Put accepts, in bytes: these files are a few kilobytes.
const maxSize = 4 << 20

// answerWithin bounds every call, and each page of a List: a storage that does not answer must be told as a
// status, not waited for.
const answerWithin = 15 * time.Second

// Store holds small files under slash-separated paths relative to the storage's prefix. Paths are clean: no
// "." or "..", no empty elements, no control characters. It may be used concurrently.
type Store interface {
	// Get returns the content, or ErrNotFound.
	Get(ctx context.Context, path string) ([]byte, error)
	// Put writes or replaces a file. Readers see the old content or the new one, never a part.
	Put(ctx context.Context, path string, data []byte) error
	// PutIfAbsent writes a file that must not exist, or returns ErrExists. Of several at once one wins, on S3 if
	// the server knows If-None-Match; else only a file that was there before is sure to be noticed.
	PutIfAbsent(ctx context.Context, path string, data []byte) error
	// List returns the paths of all files below a directory, at any depth, sorted; "" means all, packs of
	// repositories included. A directory that does not exist is empty.
	List(ctx context.Context, directory string) ([]string, error)
	// Delete removes a file; on a local storage also the directories that are empty without it. One that is not there is not
	// an error.
	Delete(ctx context.Context, path string) error
	// DeleteAll removes all files below a directory, at any depth. The storage itself ("") is refused. What was removed before an error is gone.
	DeleteAll(ctx context.Context, directory string) error
}

// Open prepares access and checks only what can be checked without the storage: the first call tells whether
// it can be reached.
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

// checkPath refuses what could leave the prefix or mean different files on different storages.
func checkPath(p string) error {
	switch {
	case p == "":
		return errors.New("path is empty")
	case len(p) > 900: // S3 keys end at 1024 bytes, prefix included
		return errors.New("path is too long")
	case !utf8.ValidString(p):
		return fmt.Errorf("path %q is not UTF-8", p)
	case strings.ContainsFunc(p, unicode.IsControl):
		return fmt.Errorf("path %q holds a control character", p)
	case strings.HasPrefix(p, "/"), path.Clean(p) != p, p == ".", p == "..", strings.HasPrefix(p, "../"):
		return fmt.Errorf("path %q is not clean and relative", p)
	}
	return nil
}

// checkPut is checkPath for a file about to be written.
func checkPut(p string, data []byte) error {
	if err := checkPath(p); err != nil {
		return err
	}
	if len(data) > maxSize {
		return fmt.Errorf("%s has %d bytes, more than %d", p, len(data), maxSize)
	}
	return nil
}
