package kopia

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/sharded"
	"golang.org/x/sys/unix"
)

// localStorage adds durability to kopia's file system storage: PutBlob returns when the blob is on the disk.
// Without it a power failure could lose data after a success was reported. And an index that reached the disk
// before its pack would make every later backup refer to missing data.
type localStorage struct {
	blob.Storage
	root    string
	shards  string
	paths   shardedPaths
	durable sync.Map // paths that were synced and need no second sync
	packs   packFiles
}

// shardedPaths is the part of kopia's file system storage that knows where a blob lies.
type shardedPaths interface {
	GetShardedPathAndFilePath(ctx context.Context, id blob.ID) (dir, file string, err error)
}

// newLocalStorage wraps the storage in dir, a directory below root or root itself.
func newLocalStorage(st blob.Storage, root, dir string) (blob.Storage, error) {
	paths, ok := st.(shardedPaths)
	if !ok {
		return nil, errors.New("open storage: the file system storage does not say where its blobs are")
	}
	return &localStorage{
		Storage: st, root: filepath.Clean(root), shards: filepath.Join(dir, sharded.ParametersFile), paths: paths,
	}, nil
}

// PutBlob writes a blob and waits for the disk. On a full disk it fails at once: kopia would try ten times, half a
// minute apart.
func (s *localStorage) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	dir, file, err := s.paths.GetShardedPathAndFilePath(ctx, id)
	if err != nil {
		return err
	}
	if err := s.room(data.Length()); err != nil {
		return err
	}
	if err := s.Storage.PutBlob(ctx, id, data, o); err != nil {
		removeLeftovers(file)
		return err
	}
	// kopia writes this file, which says how blobs are spread over directories. Without the file kopia finds no blob.
	if err := s.once(s.shards, syncPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncPath(file); err != nil {
		return err
	}
	return s.syncDirs(filepath.Clean(dir))
}

// once calls do for a path until a call succeeds.
func (s *localStorage) once(name string, do func(string) error) error {
	if _, done := s.durable.Load(name); done {
		return nil
	}
	err := do(name)
	if err == nil {
		s.durable.Store(name, true)
	}
	return err
}

// room returns ENOSPC if the file system reports less than n free bytes.
func (s *localStorage) room(n int) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil || st.Blocks == 0 {
		return nil // the write will fail if there is no space
	}
	free := st.Bavail
	if os.Geteuid() == 0 {
		free = st.Bfree
	}
	if free < uint64(n)/uint64(st.Bsize)+1 {
		return &fs.PathError{Op: "write", Path: s.root, Err: unix.ENOSPC}
	}
	return nil
}

// removeLeftovers removes the temporary files of a blob that could not be written: on a full disk they would hold
// the last free space for ever. The name of a blob is random, so nobody else writes it.
func removeLeftovers(file string) {
	dir, name := filepath.Split(file)
	entries, _ := os.ReadDir(dir) // what cannot be listed cannot be removed
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name+".tmp.") {
			left := filepath.Join(dir, e.Name())
			_ = os.Truncate(left, 0) // kopia leaves the file open, so removing it alone would free nothing
			_ = os.Remove(left)
		}
	}
}

// syncDirs syncs the directory of a blob, and the directories above it that may be new.
func (s *localStorage) syncDirs(dir string) error {
	for {
		// directories of our own are readable
		if err := syncPath(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if _, known := s.durable.LoadOrStore(dir, true); known || dir == s.root || len(dir) < len(s.root) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// syncPath syncs a file or directory.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // this file system has no sync
	}
	return err
}
