// Package remote reads and writes directories on servers that know files: SFTP and WebDAV. What it writes appears whole
// or not at all.
package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"path"

	"github.com/cairn-backup/cairn/internal/repository"
)

// TempPrefix begins the names of files that are being written. A process that was killed leaves one; nobody reads it.
const TempPrefix = ".cairn-tmp-"

// Tree is a directory on a server. Names are relative to it, with slashes; "" is the directory itself. A name that is not
// there is fs.ErrNotExist. Its errors hold no secret. It may be used concurrently.
type Tree interface {
	// Read gives length bytes of a file from offset on, fewer where the file ends; a negative length means to its end.
	Read(ctx context.Context, name string, offset, length int64) ([]byte, error)
	// Stat describes a file or directory.
	Stat(ctx context.Context, name string) (fs.FileInfo, error)
	// List gives the entries of a directory.
	List(ctx context.Context, name string) ([]fs.FileInfo, error)
	// Write writes or replaces a file, and makes the directories that it lies in. With absent it must not be there, which is
	// fs.ErrExist; of several at once one wins.
	Write(ctx context.Context, name string, data []byte, absent bool) error
	// Remove removes a file. One that is not there is no error.
	Remove(ctx context.Context, name string) error
	// Close ends the connections.
	Close() error
}

// Open prepares access to an SFTP or WebDAV storage. The directory itself is looked for with the first call: where it is
// missing, that is repository.ErrNoBucket, and nothing is made in its place.
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

// abandon waits for f no longer than ctx. The clients of both protocols know no context: f goes on, and ends when the
// connection does. What it uses must be its own.
func abandon[T any](ctx context.Context, f func() (T, error)) (T, error) {
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

// temporary is a name beside name.
func temporary(name string) string { return path.Join(path.Dir(name), TempPrefix+rand.Text()) }

func noDirectory(err error) error {
	return &repository.Error{Op: "open storage", Kind: repository.ErrNoBucket, Err: err}
}
