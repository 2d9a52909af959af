// Package repository is the only door between Cairn and whatever stores the backups. Nothing in it names a
// particular backup program: a driver implements Driver and Engine and must pass the tests of package
// enginetest.
package repository

import (
	"context"
	"io"
	"time"
)

// Driver creates and opens repositories of one format. It may be used concurrently.
type Driver interface {
	// Init creates the repository. It fails with ErrAlreadyInitialized, and changes nothing, if a complete one
	// is there; one whose Init was interrupted is completed. It fails with ErrCorrupt where parts of a damaged
	// repository lie. At most one process may run it for one place at a time: of two, the second would replace
	// the key of the first.
	Init(ctx context.Context, r Repository) error
	// Open connects to an existing repository and never creates one: it fails with ErrNotInitialized where the
	// storage is fine but holds none, with ErrNoBucket where bucket or directory is missing.
	Open(ctx context.Context, r Repository) (Engine, error)
}

// Engine works on one open repository. Its methods may be called concurrently. Their errors are classified:
// test them with errors.Is against the Err variables of this package.
type Engine interface {
	// Backup stores src and returns the snapshot. It returns an error and leaves no snapshot when the source
	// could not be read completely, unless opt.AllowPartial, or when opt.Accept refuses it. What was uploaded stays,
	// so a retry is cheap. The counts of the snapshot that might have been come also beside an error. A file that was
	// written to while it was read is read again, a few times. After an error of the storage a snapshot may exist all
	// the same (a reply was lost): look with FindByTags.
	Backup(ctx context.Context, src Source, opt BackupOptions) (Snapshot, error)
	// List returns the complete snapshots of a source, oldest first; an empty source means all.
	List(ctx context.Context, source string) ([]Snapshot, error)
	// FindByTags returns the complete snapshots that carry all of tags, oldest first. At least one tag is needed.
	FindByTags(ctx context.Context, tags map[string]string) ([]Snapshot, error)
	// Restore writes a snapshot of a directory below the existing directory target, and nowhere else. The
	// result tells what was written also beside an error.
	Restore(ctx context.Context, id, target string, opt RestoreOptions) (RestoreResult, error)
	// Compare reads what a restore with the same options wrote below target, as far as it can from the disk, and compares it
	// with the snapshot. What the restore kept because it was newer is left out. Differences are counted, not an error.
	Compare(ctx context.Context, id, target string, opt RestoreOptions) (CompareResult, error)
	// ReadDir lists a directory of a snapshot, by name. Path "" is its root.
	ReadDir(ctx context.Context, id, path string) ([]Entry, error)
	// ReadFile writes the content of a file of a snapshot to w.
	ReadFile(ctx context.Context, id, path string, w io.Writer) error
	// RestoreStream writes a snapshot made from Source.Stream to w, piece by piece. It fails with ErrTarget, and the error of w,
	// where w does. A part may have been written also before other errors. A w that blocks must end by itself when ctx does.
	RestoreStream(ctx context.Context, id string, w io.Writer) error
	// Verify checks that everything the snapshot needs is there, and reads percent % of its files back.
	Verify(ctx context.Context, id string, percent float64) (VerifyResult, error)
	// Check looks whether everything that the snapshots need is there, without reading their files back: much is shared, and
	// what is looked at for one is done for all. It gives those that are damaged or not there at all. An error says that nothing
	// is known.
	Check(ctx context.Context, ids []string) (damaged []string, err error)
	// Delete forgets snapshots; their space comes back in a later Maintain. Unknown ids are not an error. A
	// deleted snapshot can come back while others write: a deletion holds once a later List confirms it.
	Delete(ctx context.Context, ids ...string) error
	// Maintain compacts and collects garbage, beside writers if need be. It fails with ErrNotOwner unless
	// Repository.Owner is the one given to Init. One process per repository may run it at a time.
	Maintain(ctx context.Context, opt MaintainOptions) error
	// Usage is how many bytes the repository takes in the storage, garbage included.
	Usage(ctx context.Context) (int64, error)
	// Close ends the connection; the Engine cannot be used any more.
	Close(ctx context.Context) error
}

// Repository says where a repository is and how to reach it. Secrets live in memory only: a driver must not
// write them to disk.
type Repository struct {
	Storage  Storage
	Password string
	// Owner is who maintains the repository, "cairn@<cluster uid>": required by Init, which records it, and
	// needed for Maintain. It takes no part in the identity of sources.
	Owner    string
	WorkDir  string // private directory of this process: connection file, locks. Required.
	CacheDir string // empty: no cache on disk
	Cache    CacheLimits
	ReadOnly bool
	// Log receives the driver's messages of level info and above; it may be nil and is called concurrently.
	Log func(level, component, msg string)
}

// CacheLimits are soft sizes in bytes (0: the driver's default) of the local caches.
type CacheLimits struct{ Data, Metadata int64 }

// Snapshot is one restorable point.
type Snapshot struct {
	ID         string
	Source     string
	Start, End time.Time
	Tags       map[string]string
	Files      int64
	Bytes      int64
	BytesSent  int64 // new data uploaded by this run (only in Backup's result)
	Dirs       int64 // directories, the uppermost one included
	Symlinks   int64
	HardLinks  int64 // names of files that have several
	Special    int64 // FIFOs and devices
	Sockets    int64 // left out: they hold no data
	Unreadable int64 // entries missing from the snapshot
	Vanished   int64 // entries deleted while the backup ran
	Changed    int64 // entries written to while they were read, which may be torn
	Attributes int64 // entries with attributes captured beside the data
	// AttributesUnreadable are attributes missing from the snapshot.
	AttributesUnreadable int64
	// Problems are the first few of the entries counted above (only in Backup's result).
	Problems []Problem
}

// Problem names an entry that is not, or not surely, in a snapshot or restore.
type Problem struct {
	Path string
	Err  error
}

// RestoreResult counts what was written. A non-empty Problems means the tree is not the original.
type RestoreResult struct {
	Files, Dirs, Links, Special, Bytes, Skipped int64
	Overwritten                                 int64 // files among them that took the place of another
	Deleted                                     int64 // entries that the snapshot does not have
	OwnersNotRestored                           int64 // entries whose owner or group differs, asked for or not
	ModesNotRestored                            int64 // entries whose mode differs, set-id bits included
	AttributesNotRestored                       int64 // extended attributes, ACLs, capabilities, times, FIFOs
	DevicesNotRestored                          int64 // devices, asked for or not
	Problems                                    []Problem
}

// VerifyResult counts what was checked.
type VerifyResult struct {
	Objects, FilesRead, BytesRead int64
	Problems                      []Problem
}
