// Package remote reads and writes directories on file servers: SFTP and WebDAV. Every file that it writes appears
// whole or not at all. A Tree is safe for concurrent use.
package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"path"

	"github.com/cairn-backup/cairn/internal/repository"
)

// TempPrefix begins the names of files that are being written. A killed process leaves such a file, which nobody
// reads.
const TempPrefix = ".cairn-tmp-"

// Tree is a directory on a server. Names are relative to it, with slashes; "" is the directory itself. The error for
// a missing name is fs.ErrNotExist. Errors hold no secret. A Tree is safe for concurrent use.
type Tree interface {
	// Read returns length bytes of a file from offset on, or fewer if the file ends. With a negative length it returns
	// the rest of the file.
	Read(ctx context.Context, name string, offset, length int64) ([]byte, error)
	// Stat describes a file or directory.
	Stat(ctx context.Context, name string) (fs.FileInfo, error)
	// List returns the entries of a directory.
	List(ctx context.Context, name string) ([]fs.FileInfo, error)
	// Write writes or replaces a file and creates its parent directories. With absent, it fails with fs.ErrExist if
	// the file exists; of several concurrent calls one wins.
	Write(ctx context.Context, name string, data []byte, absent bool) error
	// Remove removes a file. A missing file is no error.
	Remove(ctx context.Context, name string) error
	// Close closes the connections.
	Close() error
}

// Open prepares access to an SFTP or WebDAV storage. The first call looks for the directory: if it is missing, the
// call fails with repository.ErrNoBucket and creates nothing.
func Open(s repository.Storage) (Tree, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	switch {
	case s.SFTP != nil:
		return newSFTP(*s.SFTP)
	case s.WebDAV != nil:
		return newWebDAV(*s.WebDAV)
	}
	return nil, errors.New("not a storage of files")
}

// withContext waits for f no longer than ctx. The clients of both protocols take no context, so f goes on until the
// connection ends. f must not share what it uses.
func withContext[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// temporary returns a temporary name beside name.
func temporary(name string) string { return path.Join(path.Dir(name), TempPrefix+rand.Text()) }

func noDirectory(err error) error {
	return &repository.Error{Op: "open storage", Kind: repository.ErrNoBucket, Err: err}
}
