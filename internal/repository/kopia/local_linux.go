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

// localStorage adds to kopia's file system storage what it leaves out: a blob that was written is on the disk.
// Without that, what the kernel still held could be lost after a success was reported; and an index that came
// to the disk before its pack would make every later backup refer to data that is not there.
type localStorage struct {
	blob.Storage
	root    string
	shards  string
	paths   shardedPaths
	durable sync.Map // what needs to be brought to the disk once, and was
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
	return &localStorage{Storage: st, root: filepath.Clean(root), shards: filepath.Join(dir, sharded.ParametersFile), paths: paths}, nil
}

// PutBlob writes a blob and waits for the disk. A disk without room for it is said at once: kopia would fill it,
// ten times, with half a minute in between.
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
	// kopia itself writes how it spreads the blobs over directories. Without that file it would find none of them.
	if err := s.once(s.shards, syncPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncPath(file); err != nil {
		return err
	}
	return s.syncDirs(filepath.Clean(dir))
}

// once does something for a path that needs to be done once.
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

// room fails if the file system says that n bytes do not fit.
func (s *localStorage) room(n int) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil || st.Blocks == 0 {
		return nil //nolint:nilerr // then writing will show
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

// removeLeftovers removes what kopia leaves of a blob that could not be written: on a full disk it would hold
// the last of the room for ever. The name of a blob is random, so nobody else is writing it.
func removeLeftovers(file string) {
	dir, name := filepath.Split(file)
	entries, _ := os.ReadDir(dir) // what cannot be listed cannot be removed
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name+".tmp.") {
			left := filepath.Join(dir, e.Name())
			_ = os.Truncate(left, 0) // kopia also leaves it open
			_ = os.Remove(left)
		}
	}
}

// syncDirs brings the entry of a blob to the disk, and those of the directories above it that may be new.
func (s *localStorage) syncDirs(dir string) error {
	for {
		if err := syncPath(dir); err != nil && !errors.Is(err, fs.ErrPermission) { // ours can be read
			return err
		}
		if _, known := s.durable.LoadOrStore(dir, true); known || dir == s.root || len(dir) < len(s.root) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// syncPath waits until a file or directory is on the disk.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // a file system that cannot do more than it did
	}
	return err
}
