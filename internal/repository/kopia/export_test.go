package kopia

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content/indexblob"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/policy"
	"github.com/kopia/kopia/snapshot/snapshotfs"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// WithoutWaiting makes Maintain collect garbage at once. There must be no writers meanwhile.
func WithoutWaiting(d Driver) Driver {
	none := maintenance.SafetyNone
	d.safety = &none
	return d
}

// RemoveLeftovers removes what is left of a blob's file.
var RemoveLeftovers = removeLeftovers

// The encodings, for the fuzz tests.
var (
	EncodeName = encodeName
	DecodeName = decodeName
	ErrAttrs   = errBadAttrs
)

// AttrName is the name of attribute files.
const AttrName = attrName

// ReencodeAttrs decodes an attribute file and encodes it again.
func ReencodeAttrs(b []byte) ([]byte, error) {
	recs, err := decodeAttrs(b)
	if err != nil {
		return nil, err
	}
	return encodeAttrs(recs), nil
}

// KeepsAll reports whether the repository's own policy would let kopia expire nothing.
func KeepsAll(ctx context.Context, e repository.Engine) (bool, error) {
	p, err := policy.GetDefinedPolicy(ctx, e.(*repoEngine).rep, policy.GlobalPolicySourceInfo)
	if err != nil {
		return false, err
	}
	r := p.RetentionPolicy
	for _, keep := range []*policy.OptionalInt{
		r.KeepLatest, r.KeepHourly, r.KeepDaily, r.KeepWeekly, r.KeepMonthly, r.KeepAnnual,
	} {
		if keep == nil || *keep != 0 {
			return false, nil
		}
	}
	return true, nil
}

// WithLstat calls before for each name that the driver looks up in a source. The driver sees the error that it
// returns.
func WithLstat(d Driver, before func(name string) error) Driver {
	d.lstat = func(fd int, name string, st *unix.Stat_t) error {
		if err := before(name); err != nil {
			return err
		}
		return fstatat(fd, name, st)
	}
	return d
}

// WithEachLstat calls before for each name that the driver looks up in a source, in its own way.
func WithEachLstat(d Driver, before func(name string)) Driver {
	lstat := d.lstat
	d.lstat = func(fd int, name string, st *unix.Stat_t) error {
		before(name)
		return lstat(fd, name, st)
	}
	return d
}

// WithChangeTime replaces the time of the last change of all files, as a file system does that keeps none or whose
// clock stands still.
func WithChangeTime(d Driver, at time.Time) Driver {
	return WithChangeTimes(d, func() time.Time { return at })
}

// WithChangeTimes replaces the time of the last change each time that the driver looks at a file.
func WithChangeTimes(d Driver, at func() time.Time) Driver {
	d.lstat = func(fd int, name string, st *unix.Stat_t) error {
		err := fstatat(fd, name, st)
		st.Ctim = unix.NsecToTimespec(at().UnixNano())
		return err
	}
	d.fstat = func(fd int, st *unix.Stat_t) error {
		err := fstat(fd, st)
		st.Ctim = unix.NsecToTimespec(at().UnixNano())
		return err
	}
	return d
}

// WithStat calls after with the attributes of each name that the driver found in a source. It can change them.
func WithStat(d Driver, after func(name string, st *unix.Stat_t)) Driver {
	d.lstat = func(fd int, name string, st *unix.Stat_t) error {
		err := fstatat(fd, name, st)
		if err == nil {
			after(name, st)
		}
		return err
	}
	return d
}

// WithFileStat calls before each time that an open file is described.
func WithFileStat(d Driver, before func()) Driver {
	d.fstat = func(fd int, st *unix.Stat_t) error {
		before()
		return fstat(fd, st)
	}
	return d
}

// Fstat and FstatNow describe an open file as this node remembers it, and as its server knows it.
var Fstat, FstatNow = fstat, fstatNow

// WithDescription saves a snapshot again with another description, and returns the ID of the new one.
func WithDescription(t testing.TB, e repository.Engine, id string, change func(string) string) string {
	t.Helper()
	ctx := t.Context()
	var saved manifest.ID
	err := repo.WriteSession(ctx, e.(*repoEngine).rep, repo.WriteSessionOptions{Purpose: "test"},
		func(ctx context.Context, w repo.RepositoryWriter) error {
			man, err := snapshot.LoadSnapshot(ctx, w, manifest.ID(id))
			if err != nil {
				return err
			}
			man.ID, man.Description = "", change(man.Description)
			saved, err = snapshot.SaveSnapshot(ctx, w, man)
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
	return string(saved)
}

// WithStep calls step before each change of the target of a restore.
func WithStep(d Driver, step func()) Driver {
	d.step = step
	return d
}

// WithDisk calls disk each time that a restore brings its target to the disk, and then does so. The driver sees the
// error that it returns.
func WithDisk(d Driver, disk func() error) Driver {
	d.syncfs = func(fd int) error { return errors.Join(disk(), unix.Syncfs(fd)) }
	return d
}

// WithEntries saves a snapshot again with other entries in its root, and returns the ID of the new one.
func WithEntries(t testing.TB, e repository.Engine, id string, change func([]*snapshot.DirEntry)) string {
	t.Helper()
	var saved manifest.ID
	re := e.(*repoEngine)
	err := repo.WriteSession(t.Context(), re.rep, repo.WriteSessionOptions{Purpose: "test"},
		func(ctx context.Context, w repo.RepositoryWriter) error {
			man, err := snapshot.LoadSnapshot(ctx, w, manifest.ID(id))
			if err != nil {
				return err
			}
			dm, err := re.readDir(ctx, man.RootEntry.ObjectID)
			if err != nil {
				return err
			}
			change(dm.Entries)
			if man.RootEntry.ObjectID, err = snapshotfs.WriteDirManifest(ctx, w, ".", dm, "zstd-fastest"); err != nil {
				return err
			}
			man.ID = ""
			saved, err = snapshot.SaveSnapshot(ctx, w, man)
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
	return string(saved)
}

// WithFileTime replaces the clock that the times of files are compared with.
func WithFileTime(d Driver, now func() time.Time) Driver {
	d.fileTime = now
	return d
}

// TrustYoungFiles lets the next backup skip files that changed just before they were read, unless WithDirtyFor is used.
// Otherwise hardly a test would find an unchanged file.
func TrustYoungFiles() { dirtyFor = 0 }

// WithDirtyFor sets how long after its last change a file may be written to through a mapping that is not noticed.
func WithDirtyFor(d Driver, t time.Duration) Driver {
	d.dirtyFor = t
	return d
}

// WithSkew sets by how much the clock of a source may differ, as that of a network file system may.
func WithSkew(d Driver, t time.Duration) Driver {
	d.skew = t
	return d
}

// SkewOf returns by how much the clock of a directory's files may differ.
var SkewOf = skewOf

// WithPartSize sets the size above which kopia reads a file in parts of that size.
func WithPartSize(d Driver, size int64) Driver {
	d.partSize = size
	return d
}

// ReadDuring reads a file of a source to its end, calls change, and closes the file. It returns the number of changes
// that the driver noticed.
func ReadDuring(ctx context.Context, dir, name string, change func()) (int64, error) {
	w, root, err := newWalk(dir, repository.BackupOptions{}, fstatat)
	if err != nil {
		return 0, err
	}
	e, err := root.Child(ctx, name)
	if err != nil {
		return 0, err
	}
	defer e.Close()
	r, err := e.(*fileNode).Open(ctx)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, r)
	change()
	err = errors.Join(err, r.Close())
	return w.changed.Load(), err
}

// ReadsTwice reports whether a backup by modification times alone, of a source whose clock may differ so much, reads a
// file a second time.
func ReadsTwice(ctx context.Context, dir, name string, skew time.Duration) (bool, error) {
	w, root, err := newWalk(dir, repository.BackupOptions{IgnoreInode: true}, fstatat)
	if err != nil {
		return false, err
	}
	w.skew, w.dirtyFor = skew, time.Minute
	e, err := root.Child(ctx, name)
	if err != nil {
		return false, err
	}
	defer e.Close()
	r, err := e.(*fileNode).Open(ctx)
	if err != nil {
		return false, err
	}
	return r.(*fileReader).sum != nil, r.Close()
}

// ForgetFullRead makes a snapshot what a version without stamps leaves.
func ForgetFullRead(ctx context.Context, e repository.Engine, id string) error {
	return repo.WriteSession(ctx, e.(*repoEngine).rep, repo.WriteSessionOptions{},
		func(ctx context.Context, w repo.RepositoryWriter) error {
			man, err := snapshot.LoadSnapshot(ctx, w, manifest.ID(id))
			if err != nil {
				return err
			}
			delete(man.Tags, fullReadLabel)
			return snapshot.UpdateSnapshot(ctx, w, man)
		})
}

// ReadGrowing reads a file of a source to its end. It calls grow when it has read all that the file held at first.
func ReadGrowing(ctx context.Context, dir, name string, grow func()) ([]byte, error) {
	_, root, err := newWalk(dir, repository.BackupOptions{}, fstatat)
	if err != nil {
		return nil, err
	}
	e, err := root.Child(ctx, name)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	r, err := e.(*fileNode).Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	first := make([]byte, e.Size()+1)
	n, err := r.Read(first)
	grow()
	if err == io.EOF {
		return first[:n], nil
	}
	if err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(r)
	return append(first[:n], rest...), err
}

// WithAnswer sets how long one request may take.
func WithAnswer(d Driver, within time.Duration) Driver {
	d.within = within
	return d
}

// WithBelow wraps the storage below the limits of time and number: it sees each request as the storage does.
func WithBelow(d Driver, wrap func(blob.Storage) blob.Storage) Driver {
	d.below = wrap
	return d
}

// WithReadAgain sets how many bytes of changed files are read again where such files are allowed.
func WithReadAgain(d Driver, bytes int64) Driver {
	d.readAgain = bytes
	return d
}

// WithPasses sets how often a tree is read at most.
func WithPasses(d Driver, passes int) Driver {
	d.passes = passes
	return d
}

// WithPatience sets how long a storage may refuse to list blobs.
func WithPatience(d Driver, p time.Duration) Driver {
	d.patience = p
	return d
}

// Unfinished returns the ids of incomplete manifests.
func Unfinished(ctx context.Context, e repository.Engine) (out []string, _ error) {
	rep := e.(*repoEngine).rep
	ids, err := snapshot.ListSnapshotManifests(ctx, rep, nil, nil)
	if err != nil {
		return nil, err
	}
	mans, err := snapshot.LoadSnapshots(ctx, rep, ids)
	for _, m := range mans {
		if m.IncompleteReason != "" {
			out = append(out, string(m.ID))
		}
	}
	return out, err
}

// NewPartBuffer returns a partBuffer that fills room.
func NewPartBuffer(room []byte) interface {
	blob.OutputBuffer
	io.ReaderFrom
} {
	return &partBuffer{room: room}
}

// ReadPacks returns the function with which a restore reads packs, until end is called.
func ReadPacks(
	st blob.Storage,
) (read func(context.Context, blob.ID, int64, int64, blob.OutputBuffer) error, end func()) {
	p := &packReader{Storage: st}
	return p.GetBlob, p.begin()
}

// NewPackReader returns the storage with which a restore reads packs.
func NewPackReader(st blob.Storage) blob.Storage {
	p := &packReader{Storage: st}
	p.begin()
	return p
}

// OpenLocal opens the storage in a directory.
func OpenLocal(ctx context.Context, dir string) (blob.Storage, error) {
	return openLocal(ctx, repository.Local{Path: dir}, true)
}

// OpenPackFiles returns the function that opens the files of packs, and one that counts them.
func OpenPackFiles() (get func(id blob.ID, file string) *os.File, count func() int) {
	p := new(packFiles)
	return p.get, func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.lru.Len()
	}
}

// LoseContents deletes the contents of all files of a snapshot, as maintenance does with what it takes for
// unused.
func LoseContents(ctx context.Context, e repository.Engine, id string) error {
	re := e.(*repoEngine)
	_, man, err := re.root(ctx, id)
	if err != nil {
		return err
	}
	return repo.DirectWriteSession(ctx, re.rep, repo.WriteSessionOptions{},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			if err := errors.Join(deleteFiles(ctx, re, w, man.RootEntry), w.Flush(ctx)); err != nil {
				return err
			}
			return w.ContentManager().CompactIndexes(ctx,
				indexblob.CompactOptions{DropDeletedBefore: w.Time().Add(time.Second)})
		})
}

func deleteFiles(ctx context.Context, e *repoEngine, w repo.DirectRepositoryWriter, de *snapshot.DirEntry) error {
	if de.Type != snapshot.EntryTypeDirectory {
		parts, err := w.VerifyObject(ctx, de.ObjectID)
		for _, part := range parts {
			err = errors.Join(err, w.ContentManager().DeleteContent(ctx, part))
		}
		return err
	}
	dm, err := e.readDir(ctx, de.ObjectID)
	if err != nil {
		return err
	}
	for _, x := range dm.Entries {
		err = errors.Join(err, deleteFiles(ctx, e, w, x))
	}
	return err
}

// Alike returns a function that looks in how many sets the names of a directory are alike.
func Alike(names []string) func() int {
	dm := &snapshot.DirManifest{}
	for _, n := range names {
		dm.Entries = append(dm.Entries, &snapshot.DirEntry{Name: n})
	}
	return func() int { return len((&restorer{}).alike("", dm, nil)) }
}

// IsRotten reports whether an error means that the storage returned other bytes than were written.
var IsRotten = isRotten

// PlaceOf returns the pack that has the first content of a file or directory of a snapshot, and where in it.
func PlaceOf(
	ctx context.Context, e repository.Engine, id, path string,
) (pack blob.ID, offset, length int64, _ error) {
	re := e.(*repoEngine)
	man, err := re.manifest(ctx, id)
	if err != nil {
		return "", 0, 0, err
	}
	de, err := re.find(ctx, man.RootEntry, path)
	if err != nil {
		return "", 0, 0, err
	}
	parts, err := re.rep.VerifyObject(ctx, de.ObjectID)
	if err != nil {
		return "", 0, 0, err
	}
	info, err := re.rep.ContentInfo(ctx, parts[0])
	return info.PackBlobID, int64(info.PackOffset), int64(info.PackedLength), err
}
