package repository

import (
	"context"
	"io"
	"time"
)

// Source is a directory or a stream. Its stable name ties successive snapshots together. The name is
// "<namespace>/<kind>/<name>/<component>". It never contains a pod or node: when that changes, the next backup would
// be the first one of a new source.
type Source struct {
	Name string
	Dir  string // a directory tree, or
	// Stream is a stream, which can be empty. Its Read must return an error other than io.EOF if the producer failed,
	// and an error when ctx ends.
	Stream io.Reader
	File   string // the stream's file name
}

// Compression names a trade-off between speed and size, not an algorithm.
type Compression string

// Compressions. The zero value is a fast one that pays off on any data.
const (
	CompressionDefault Compression = ""
	CompressionNone    Compression = "none"
	CompressionFast    Compression = "fast"
	CompressionBetter  Compression = "better"
)

// BackupOptions tune one backup. The zero value is a good one.
type BackupOptions struct {
	// Tags are stored with the snapshot. Accept can still add some. FindByTags finds them.
	Tags          map[string]string
	Exclude       []string // see Selection; the snapshot keeps them
	Mounts        []Mount  // under which users know the source; the snapshot keeps them
	Parallel      int      // files read concurrently; 0 means the driver's choice
	Compression   Compression
	OneFileSystem bool
	// FullReadEvery makes the backup read every file, changed or not, if the last time was as long ago. 0 means never.
	// It is for file systems whose files can change without another ctime or inode.
	FullReadEvery time.Duration
	// IgnoreInode takes a file for unchanged also if its ctime and its inode are not the same as in the previous
	// snapshot. It is for file systems that give unchanged files new ones. It needs FullReadEvery, because a file that
	// was replaced by one of the same size and time is found only then.
	IgnoreInode bool
	// CopiedAt is when the source was copied from the volume that an application writes to, or a time before that. Zero
	// means that the source is that volume. In a copy that was made without a pause of the file system, a file can have
	// the times of a write whose data did not get into the copy. So files that changed shortly before CopiedAt, or
	// later, are read again by the next backup.
	CopiedAt time.Time
	// AllowPartial keeps a snapshot in which some entries or attributes could not be read.
	AllowPartial bool
	// AllowChanged accepts files that were written to while they were read. Most of them are then not read again,
	// which otherwise can take several times as long.
	AllowChanged bool
	// Accept, if set, judges a backup before it becomes a snapshot, when it has no ID yet. If Accept returns an
	// error, no snapshot is left, and Backup returns the error with the kind ErrRefused.
	Accept func(Snapshot) error
	// CheckpointEvery bounds the work that an interrupted backup has to repeat (default 10 min, at most 45 min).
	CheckpointEvery time.Duration
	// Progress is called from one goroutine, every ProgressEvery (default 1 s) and once at the end.
	Progress      func(Progress)
	ProgressEvery time.Duration
	// NoAttributes switches off the capture of extended attributes, hard links and special files.
	NoAttributes bool
}

// Progress counts grow monotonically within one backup, except Unreadable: an entry can become readable at the next
// attempt.
type Progress struct {
	FilesDone                            int64 // with the unchanged ones, and with symbolic links
	FilesUnchanged                       int64 // the same as in the previous snapshot, so not read
	BytesRead, BytesUnchanged, BytesSent int64
	Unreadable                           int64
	Current                              string // the directory that is being read
}

// Conflict says what a restore does with an existing file.
type Conflict int

// Conflict rules. Existing directories are always entered. A directory in the place of a file, or a file in the place
// of a directory, counts as an existing file. But a directory that is not empty is replaced only with DeleteExtra.
const (
	// ConflictFail makes the restore fail.
	ConflictFail Conflict = iota
	// ConflictReplace replaces the existing file. Whatever the restore writes, a log or journal of SQLite goes that
	// belongs to another state of a written database, but for ConflictFail.
	ConflictReplace
	// ConflictSkip keeps the existing file.
	ConflictSkip
	// ConflictNewer keeps the existing file unless the snapshot's file was changed later.
	ConflictNewer
)

// RestoreOptions tune one restore. The zero value restores data, modes, times and attributes as far as the current
// user is allowed to, but no owners, no set-id bits and capabilities, and no devices.
type RestoreOptions struct {
	Parallel   int
	Owners     bool
	SetID      bool // setuid, setgid on files, file capabilities
	Devices    bool
	OnConflict Conflict
	Path       string // restore only this path of the snapshot
	// Include and Exclude choose what is restored, and what DeleteExtra considers: see NewSelection.
	Include, Exclude []string
	// Mounts under which users know the root of the snapshot, besides those that the snapshot keeps.
	Mounts []Mount
	// DeleteExtra deletes what is in the target but not in the snapshot. It keeps mounted file systems, sockets,
	// lost+found, what the backup excluded, and what the backup left out for another reason. If a snapshot does not
	// say what its backup left out, DeleteExtra deletes nothing.
	DeleteExtra bool
	// Kept, if set, takes in which entries the restore kept. Compare leaves these out.
	Kept *Kept
	// Again says that an interrupted restore could have written what this one kept. Compare looks at kept entries with
	// the time of the snapshot, too.
	Again bool
	// Progress is called from one goroutine, every ProgressEvery (default 1 s) and once at the end.
	Progress      func(RestoreProgress)
	ProgressEvery time.Duration
}

// RestoreProgress counts grow monotonically within one restore. Kept files count as done.
type RestoreProgress struct{ FilesDone, BytesDone int64 }

// MaintainOptions choose the kind of maintenance.
type MaintainOptions struct {
	// Full also collects garbage. Without it only indexes are compacted.
	Full bool
	// Needed returns the snapshots that must stay, by ID, each with a name for messages. It is called only if the
	// storage has lost descriptions of snapshots. Maintain collects nothing if one of these is needed, or if Needed is
	// nil: the data is of use if the storage finds again what is lost.
	Needed func(context.Context) (map[string]string, error)
}
