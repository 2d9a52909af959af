package repository

import (
	"io"
	"time"
)

// Source is a directory or a stream, under a stable name that ties successive snapshots together. The name is
// "<namespace>/<kind>/<name>/<component>": never part of it is a pod or a node, whose change would make the
// next backup the first one of a new source.
type Source struct {
	Name string
	Dir  string // a directory tree, or
	// Stream is a stream, which may be empty. Its Read must return an error other than io.EOF if the producer failed, and an
	// error when ctx ends.
	Stream io.Reader
	File   string // the stream's file name
}

// Compression names a trade between speed and size, not an algorithm.
type Compression string

// The compressions; the zero value is a fast one that is worth its time on any data.
const (
	CompressionDefault Compression = ""
	CompressionNone    Compression = "none"
	CompressionFast    Compression = "fast"
	CompressionBetter  Compression = "better"
)

// BackupOptions tune one backup; the zero value is good.
type BackupOptions struct {
	// Tags are kept with the snapshot and found by FindByTags.
	Tags          map[string]string
	Exclude       []string // patterns as in a .gitignore; names that are not UTF-8 match none
	Parallel      int      // files read at once; 0: the driver's choice
	Compression   Compression
	OneFileSystem bool
	// AllowPartial keeps a snapshot in which some entries or attributes could not be read.
	AllowPartial bool
	// AllowChanged says that files which were written to while they were read will do: much of them is not read again,
	// which otherwise may take several times as long.
	AllowChanged bool
	// Accept, if set, judges what is about to become a snapshot; it has no ID yet. Its error refuses it: no snapshot
	// is left, and Backup returns the error with the kind ErrRefused.
	Accept func(Snapshot) error
	// CheckpointEvery bounds what an interrupted backup has to do again (default 10 min, at most 45 min).
	CheckpointEvery time.Duration
	// Progress is called from one goroutine, every ProgressEvery (default 1 s) and once at the end.
	Progress      func(Progress)
	ProgressEvery time.Duration
	// NoAttributes switches the capture of extended attributes, hard links and special files off.
	NoAttributes bool
}

// Progress counts are monotonic within one backup, but for Unreadable: what is read again may be readable then.
type Progress struct {
	FilesDone, FilesUnchanged            int64
	BytesRead, BytesUnchanged, BytesSent int64
	Unreadable                           int64
	Current                              string // the directory at work
}

// Conflict says what a restore does when a file is already there.
type Conflict int

// The conflict rules. Directories that exist are always entered. A directory that is where a file belongs, or the other way
// round, is a file that is there; but a directory with something in it makes way only with DeleteExtra.
const (
	// ConflictFail makes the restore an error.
	ConflictFail Conflict = iota
	// ConflictReplace puts the snapshot's file in its place.
	ConflictReplace
	// ConflictSkip keeps it.
	ConflictSkip
	// ConflictNewer keeps it unless the snapshot's file was changed later.
	ConflictNewer
)

// RestoreOptions tune one restore; the zero value restores data, modes, times and attributes as the
// current user may, but neither owners, nor set-id bits and capabilities, nor devices.
type RestoreOptions struct {
	Parallel   int
	Owners     bool
	SetID      bool // setuid, setgid on files, file capabilities
	Devices    bool
	OnConflict Conflict
	Path       string // restore only this path of the snapshot
	// Include and Exclude choose what is restored, and what DeleteExtra looks at: see NewSelection.
	Include, Exclude []string
	// DeleteExtra deletes what is in the target and not in the snapshot. Other file systems that are mounted there, and a
	// lost+found, stay.
	DeleteExtra bool
	// Progress is called from one goroutine, every ProgressEvery (default 1 s) and once at the end.
	Progress      func(RestoreProgress)
	ProgressEvery time.Duration
}

// RestoreProgress counts are monotonic within one restore. What was kept counts as done.
type RestoreProgress struct{ FilesDone, BytesDone int64 }

// MaintainOptions choose the kind of maintenance.
type MaintainOptions struct {
	// Full also collects garbage; without it only indexes are compacted.
	Full bool
}
