package gitstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// objectCache bounds go-git's cache of inflated objects, in bytes.
	objectCache = 16 * cache.MiByte
	// treeCache bounds our cache of parsed trees, in entries (about 100 bytes each).
	treeCache = 100_000
	// maxTree bounds a tree in bytes. Its entries take several times as much once they are parsed.
	maxTree = 8 << 20
)

// objects is the object directory. It counts its operations, for benchmarks and housekeeping. It turns every way in
// which a damaged file shows, including panics of the decoder, into errCorrupt.
type objects struct {
	*filesystem.Storage
	dir    string
	loose  int // files
	packs  int
	bytes  int64 // of packs
	stats  Stats
	trees  map[plumbing.Hash]*object.Tree // entries never change
	cached int                            // entries in trees
}

// Stats counts since the store was opened. Nothing is ever subtracted.
type Stats struct {
	Reads    int // objects read from the directory
	Writes   int // objects written to it, one by one
	Requests int // exchanges with the server: listings, downloads, pushes
	Recycles int // times the directory was emptied
}

func openObjects(dir string) (*objects, error) {
	o := &objects{
		dir: dir,
		Storage: filesystem.NewStorageWithOptions(osfs.New(dir, osfs.WithBoundOS()),
			cache.NewObjectLRU(objectCache), filesystem.Options{}),
	}
	if err := o.Init(); err != nil {
		return nil, fmt.Errorf("create object directory: %w", err)
	}
	return o, o.count()
}

// temporary returns a directory for files that count removes after a crash.
func (o *objects) temporary() string { return filepath.Join(o.dir, "objects") }

// count measures the directory and removes leftovers of interrupted writes.
func (o *objects) count() error {
	o.loose, o.packs, o.bytes = 0, 0, 0
	return filepath.WalkDir(filepath.Join(o.dir, "objects"), func(p string, d os.DirEntry, err error) error {
		switch name := filepath.Base(p); {
		case err == nil && d.IsDir() && strings.HasPrefix(name, "tmp_"):
			if err := os.RemoveAll(p); err != nil {
				return err
			}
			return filepath.SkipDir
		case err != nil || d.IsDir():
			return err
		case strings.Contains(name, "tmp_"):
			return os.Remove(p)
		case strings.HasSuffix(name, ".pack"):
			info, err := d.Info()
			if err != nil {
				return err
			}
			o.packs, o.bytes = o.packs+1, o.bytes+info.Size()
		case len(name) == 38:
			o.loose++
		}
		return nil
	})
}

// EncodedObject counts every read, including those of go-git's pack encoder.
func (o *objects) EncodedObject(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	o.stats.Reads++
	return o.Storage.EncodedObject(t, h)
}

// read returns nil and no error for a missing object.
func (o *objects) read(t plumbing.ObjectType, h plumbing.Hash) (_ plumbing.EncodedObject, err error) {
	defer corrupt(&err)
	obj, err := o.EncodedObject(t, h)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, nil
	}
	return obj, err
}

func (o *objects) tree(h plumbing.Hash) (t *object.Tree, err error) {
	if t := o.trees[h]; t != nil {
		return t, nil
	}
	obj, err := o.read(plumbing.TreeObject, h)
	if err != nil || obj == nil {
		return nil, err
	}
	if obj.Size() > maxTree {
		return nil, fmt.Errorf("%w: directory %s has %d bytes, more than %d", ErrTooLarge, h, obj.Size(), maxTree)
	}
	defer corrupt(&err)
	if t, err = object.DecodeTree(o, obj); err == nil {
		o.remember(h, t)
	}
	return t, err
}

func (o *objects) writeTree(t *object.Tree) (plumbing.Hash, error) {
	h, err := o.encode(t)
	if err == nil {
		o.remember(h, t)
	}
	return h, err
}

func (o *objects) remember(h plumbing.Hash, t *object.Tree) {
	if o.cached += len(t.Entries); o.trees == nil || o.cached > treeCache {
		o.trees, o.cached = map[plumbing.Hash]*object.Tree{}, len(t.Entries)
	}
	o.trees[h] = t
}

func (o *objects) commit(h plumbing.Hash) (_ *object.Commit, err error) {
	obj, err := o.read(plumbing.CommitObject, h)
	if err != nil || obj == nil {
		return nil, err
	}
	defer corrupt(&err)
	return object.DecodeCommit(o, obj)
}

// encoder is the common part of go-git's object types.
type encoder interface {
	Encode(plumbing.EncodedObject) error
}

func (o *objects) encode(e encoder) (plumbing.Hash, error) {
	obj := &plumbing.MemoryObject{}
	if err := e.Encode(obj); err != nil {
		return plumbing.ZeroHash, err
	}
	return o.write(obj)
}

func (o *objects) write(obj plumbing.EncodedObject) (plumbing.Hash, error) {
	o.stats.Writes++
	o.loose++
	h, err := o.SetEncodedObject(obj)
	if err != nil {
		return h, fmt.Errorf("write object: %w", err)
	}
	return h, nil
}

func newBlob(content []byte) *plumbing.MemoryObject {
	obj := &plumbing.MemoryObject{}
	obj.SetType(plumbing.BlobObject)
	_, _ = obj.Write(content) // memory: cannot fail
	return obj
}

func content(obj plumbing.EncodedObject) (_ []byte, err error) {
	defer corrupt(&err)
	r, err := obj.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(r)
}

// corrupt marks the error or panic of a local read. The remote has everything, so every local damage has the same
// remedy: recycle the directory.
func corrupt(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: decoder panicked: %v", errCorrupt, p)
	} else if *err != nil && !errors.Is(*err, errCorrupt) {
		*err = fmt.Errorf("%w: %w", errCorrupt, *err)
	}
}
