// Package repository is the only door between Cairn and the programs that store backups. It names no particular
// backup program: a driver implements Driver and Engine and must pass the tests of package enginetest.
//
// Concurrency: a Driver and an Engine are safe for concurrent use.
//
// Invariants: secrets live in memory only; errors are classified and hold no secret.
package repository

import (
	"context"
	"io"
	"time"
)

// Driver creates and opens repositories of one format. It is safe for concurrent use.
type Driver interface {
	// Init creates the repository. If a complete one exists, it fails with ErrAlreadyInitialized and changes nothing.
	// It completes one whose Init was interrupted. If it finds parts of a damaged repository, it fails with
	// ErrCorrupt. At most one process at a time may call it for one place: a second one would replace the key of the
	// first.
	Init(ctx context.Context, r Repository) error
	// Open connects to an existing repository and never creates one. It fails with ErrNotInitialized if the storage
	// is fine but holds no repository, and with ErrNoBucket if bucket or directory is missing.
	Open(ctx context.Context, r Repository) (Engine, error)
}

// Engine works on one open repository. Its methods are safe for concurrent use. Their errors are classified: test
// them with errors.Is against the Err variables of this package.
type Engine interface {
	// Backup stores src and returns the snapshot. If the source could not be read completely, unless
	// opt.AllowPartial, or if opt.Accept refuses the backup, it returns an error and leaves no snapshot. Uploaded
	// data stays, so a retry is cheap. The counts are also returned beside an error. A file that was written to while
	// it was read is read again, a few times. A file is not read if it is the same as in the previous snapshot: in
	// size, mode, owner, inode, and in the times of the last write and of the last change. After an error of the
	// storage a snapshot can exist all the same, if a reply was lost: look with FindByTags.
	Backup(ctx context.Context, src Source, opt BackupOptions) (Snapshot, error)
	// List returns the complete snapshots of a source, oldest first. An empty source means all. Where the storage has
	// lost descriptions of snapshots, it returns the others.
	List(ctx context.Context, source string) ([]Snapshot, error)
	// KeyLost reports whether the storage has lost the key without which nothing in the repository can be read, so that
	// the spare key opened the repository.
	KeyLost() bool
	// KeepKey brings the key back from the spare key if the storage has lost it, and never replaces a key. Otherwise it
	// makes the spare key if there is none, and makes it again if it is another or a week old. It reports whether it
	// wrote something. At most one process at a time may call it for one repository.
	KeepKey(ctx context.Context) (written bool, err error)
	// Lost reports whether the storage has lost descriptions of snapshots. They can come back.
	Lost() bool
	// FindByTags returns the complete snapshots that carry all of tags, oldest first. It needs at least one tag.
	FindByTags(ctx context.Context, tags map[string]string) ([]Snapshot, error)
	// Restore writes a snapshot of a directory into the existing directory target. It writes nothing outside target.
	// The result says what was written, also beside an error.
	Restore(ctx context.Context, id, target string, opt RestoreOptions) (RestoreResult, error)
	// Compare reads what a restore with the same options wrote below target, from the disk as far as possible, and
	// compares it with the snapshot. It leaves out what the restore kept, by opt.Kept and opt.Again, and nothing
	// else. Differences are counted and are no error.
	Compare(ctx context.Context, id, target string, opt RestoreOptions) (CompareResult, error)
	// ReadDir lists a directory of a snapshot, by name. Path "" is its root.
	ReadDir(ctx context.Context, id, path string) ([]Entry, error)
	// ReadFile writes the content of a file of a snapshot to w.
	ReadFile(ctx context.Context, id, path string, w io.Writer) error
	// RestoreStream writes a snapshot made from Source.Stream to w, piece by piece. If w fails, it fails with
	// ErrTarget and the error of w. Before any error, a part can have been written already. A w that blocks must
	// return when ctx ends.
	RestoreStream(ctx context.Context, id string, w io.Writer) error
	// Verify checks that everything the snapshot needs exists, and reads percent % of its files back.
	Verify(ctx context.Context, id string, percent float64) (VerifyResult, error)
	// Check checks whether everything that the snapshots need exists, without reading their files back. Snapshots
	// share much, and shared data is checked once. It returns the snapshots that are damaged or missing, and
	// tells Doubt of them. An error means that nothing is known, unless it is a CheckedPart.
	Check(ctx context.Context, ids []string) (damaged []string, err error)
	// Rotten returns the snapshots of which a Restore, RestoreStream, Compare or Verify of this Engine got other bytes
	// from the storage than were written. Doubt should know of them.
	Rotten() []string
	// Doubt tells that data of these snapshots is damaged. The next backups of their sources read every file, and read
	// back what the repository has already before they refer to it: what is damaged is sent again. Unknown ids are no
	// error.
	Doubt(ctx context.Context, ids ...string) error
	// Delete removes snapshots. A later Maintain frees their space. Unknown ids are no error. A deleted snapshot can
	// come back while others write: a deletion is final only when a later List confirms it.
	Delete(ctx context.Context, ids ...string) error
	// Owner returns who maintains the repository: the Repository.Owner of Init, or of the last TakeOwnership
	// before the engine was opened or maintained.
	Owner(ctx context.Context) (string, error)
	// TakeOwnership lets Repository.Owner maintain the repository, and nobody else. It changes nothing for the one who
	// does already.
	TakeOwnership(ctx context.Context) error
	// Maintain compacts and collects garbage. Others can write meanwhile. It fails with ErrNotOwner unless
	// Repository.Owner is the owner. At most one process per repository may call it at a time: with two, none loses
	// data, but either can fail. It fails with ErrCorrupt while damage keeps it from telling what is garbage, and then
	// collects none.
	Maintain(ctx context.Context, opt MaintainOptions) error
	// Usage returns how many bytes the repository takes in the storage, including garbage.
	Usage(ctx context.Context) (int64, error)
	// Close ends the connection. The Engine can't be used afterwards.
	Close(ctx context.Context) error
}

// Repository says where a repository lies and how to open it. Secrets live in memory only: a driver must not write
// them to disk.
type Repository struct {
	Storage  Storage
	Password string
	// Owner is who maintains the repository, "cairn@<cluster uid>". Init requires and records it, TakeOwnership
	// changes it, and Maintain needs it. It is not part of the identity of sources.
	Owner    string
	WorkDir  string // private directory of this process: connection file, locks. Required.
	CacheDir string // empty means no cache on disk
	Cache    CacheLimits
	ReadOnly bool
	// Log receives the driver's messages of level info and above. It can be nil. It is called concurrently.
	Log func(level, component, msg string)
}

// CacheLimits are soft sizes of the local caches in bytes. 0 means the driver's default.
type CacheLimits struct{ Data, Metadata int64 }

// Snapshot is one backup of a source that can be restored.
type Snapshot struct {
	ID         string
	Source     string
	Start, End time.Time
	// FullRead is when a backup last read every file, changed or not: the snapshot holds no file that was read
	// earlier. It is zero for a snapshot of an older version, which did not record it.
	FullRead   time.Time
	Tags       map[string]string
	Files      int64
	Bytes      int64
	BytesSent  int64 // new data uploaded by this run (only in Backup's result)
	Dirs       int64 // directories, including the root
	Symlinks   int64
	HardLinks  int64 // names of files that have several names
	Special    int64 // FIFOs and devices
	Sockets    int64 // left out: they hold no data
	Unreadable int64 // entries missing from the snapshot
	Vanished   int64 // entries deleted while the backup ran
	Changed    int64 // entries written to while they were read, which can be inconsistent
	Restless   int64 // directories that changed during each reading: what moved there can be missing
	Attributes int64 // entries with attributes captured beside the data
	// AttributesUnreadable counts the attributes that are missing from the snapshot.
	AttributesUnreadable int64
	// Unmatched are the patterns of Exclude that matched nothing.
	Unmatched []string
	// Problems holds the first few of the entries counted above (only in Backup's result).
	Problems []Problem
}

// Problem names an entry that is missing from a snapshot or restore, or not surely right in it.
type Problem struct {
	Path string
	Err  error
}

// RestoreResult counts what was written. If Problems is not empty, the tree differs from the original.
type RestoreResult struct {
	Files, Dirs, Links, Special, Bytes, Skipped int64
	Overwritten                                 int64 // written files that replaced another
	Deleted                                     int64 // entries that the snapshot does not have
	OwnersNotRestored                           int64 // entries whose owner or group differs, requested or not
	ModesNotRestored                            int64 // entries whose mode differs, set-id bits included
	AttributesNotRestored                       int64 // extended attributes, ACLs, capabilities, times, FIFOs
	DevicesNotRestored                          int64 // devices, requested or not
	// LinksNotRestored counts names that came back as files of their own, although other names of the snapshot are, or
	// seemed to be, the same file.
	LinksNotRestored int64
	// ExtraKept counts entries that DeleteExtra kept because the backup may have left them out, and subvolumes.
	ExtraKept int64
	// Unmatched are the patterns of Include and Exclude that matched nothing, in the snapshot or in the target.
	Unmatched []string
	// Touched is set if anything of the target was changed, also what is gone again.
	Touched  bool
	Problems []Problem
}

// VerifyResult counts what was checked.
type VerifyResult struct {
	Objects, FilesRead, BytesRead int64
	Problems                      []Problem
}
