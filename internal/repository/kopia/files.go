package kopia

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/retrying"
	"github.com/kopia/kopia/repo/blob/sharded"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/remote"
)

// listedAtOnce is how many directories of a file server are listed in parallel.
const listedAtOnce = 8

// filesStorage keeps blobs as files on a server, in the layout of kopia's own file storages: kopia's program can
// open the repository over the same protocol, or from the disk of the server.
type filesStorage struct {
	sharded.Storage
	blob.DefaultProviderImplementation
	tree remote.Tree
}

// openFiles creates the directory of the repository only for Init. It never creates the root of the storage.
func openFiles(ctx context.Context, s repository.Storage, create bool) (blob.Storage, error) {
	tree, err := remote.Open(s)
	if err != nil {
		return nil, err
	}
	prefix := s.Prefix()
	if _, err := tree.Stat(ctx, prefix); err != nil && (!create || !errors.Is(err, fs.ErrNotExist)) {
		err = errors.Join(err, tree.Close())
		if errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(*repository.Error)) {
			err = &repository.Error{Op: "open storage", Kind: repository.ErrNotInitialized, Err: err}
		}
		return nil, err
	}
	impl := &filesImpl{tree: tree, root: prefix, create: create}
	return retrying.NewWrapper(&filesStorage{
		Storage: sharded.New(impl, prefix, shards(listedAtOnce), create), tree: tree,
	}), nil
}

// ConnectionInfo implements blob.Storage. It is empty: no setting may get into a file, see handleStorage.
func (s *filesStorage) ConnectionInfo() blob.ConnectionInfo { return blob.ConnectionInfo{} }

// DisplayName implements blob.Storage.
func (s *filesStorage) DisplayName() string { return "files" }

// GetCapacity implements blob.Storage.
func (s *filesStorage) GetCapacity(ctx context.Context) (blob.Capacity, error) {
	measured, ok := s.tree.(remote.Measured)
	if !ok {
		return s.DefaultProviderImplementation.GetCapacity(ctx)
	}
	size, free, err := measured.Space(ctx)
	return blob.Capacity{SizeB: size, FreeB: free}, err
}

// Close implements blob.Storage.
func (s *filesStorage) Close(context.Context) error { return s.tree.Close() }

// filesImpl implements sharded.Impl, the file operations of kopia's sharded storage.
type filesImpl struct {
	tree   remote.Tree
	root   string
	create bool
}

// name returns the path for a Tree, without the slash that kopia puts before it where the root is empty.
func name(path string) string { return strings.TrimPrefix(path, "/") }

// GetBlobFromPath implements sharded.Impl.
func (f *filesImpl) GetBlobFromPath(
	ctx context.Context, _, path string, offset, length int64, out blob.OutputBuffer,
) error {
	out.Reset()
	if offset < 0 {
		return blob.ErrInvalidRange
	}
	data, err := f.tree.Read(ctx, name(path), offset, length)
	if err != nil {
		return missing(err)
	}
	if _, err := out.Write(data); err != nil {
		return err
	}
	return blob.EnsureLengthExactly(out.Length(), length)
}

// missing turns "not found" into blob.ErrBlobNotFound, except for a missing storage, which has its own error.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(*repository.Error)) {
		return blob.ErrBlobNotFound
	}
	return err
}

// GetMetadataFromPath implements sharded.Impl.
func (f *filesImpl) GetMetadataFromPath(ctx context.Context, _, path string) (blob.Metadata, error) {
	fi, err := f.tree.Stat(ctx, name(path))
	if err != nil {
		return blob.Metadata{}, missing(err)
	}
	return blob.Metadata{Length: fi.Size(), Timestamp: fi.ModTime()}, nil
}

// PutBlobInPath implements sharded.Impl. It copies the data, because a call that timed out may still be sending it.
func (f *filesImpl) PutBlobInPath(ctx context.Context, dir, path string, data blob.Bytes, opts blob.PutOptions) error {
	switch {
	case opts.HasRetentionOptions(), opts.DoNotRecreate:
		return blob.ErrUnsupportedPutBlobOption
	case !opts.SetModTime.IsZero():
		return blob.ErrSetTimeUnsupported
	}
	var all bytes.Buffer
	if _, err := data.WriteTo(&all); err != nil {
		return err
	}
	if err := f.tree.Write(ctx, name(path), all.Bytes(), false); err != nil {
		return err
	}
	if opts.GetModTime != nil {
		m, err := f.GetMetadataFromPath(ctx, dir, path)
		if err != nil {
			return err
		}
		*opts.GetModTime = m.Timestamp
	}
	return nil
}

// DeleteBlobInPath implements sharded.Impl.
func (f *filesImpl) DeleteBlobInPath(ctx context.Context, _, path string) error {
	return f.tree.Remove(ctx, name(path))
}

// ReadDir implements sharded.Impl. A directory that was deleted meanwhile is empty. So is the directory of a
// repository that Init is about to create.
func (f *filesImpl) ReadDir(ctx context.Context, dir string) ([]os.FileInfo, error) {
	entries, err := f.tree.List(ctx, name(dir))
	if missing(err) == blob.ErrBlobNotFound && (f.create || name(dir) != f.root) {
		return nil, nil
	}
	return entries, err
}
