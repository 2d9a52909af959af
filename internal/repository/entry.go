package repository

import (
	"io/fs"
	"time"
)

// Entry is an entry of a directory in a snapshot.
type Entry struct {
	Name string
	// Mode has the type and the permission bits.
	Mode     fs.FileMode
	Size     int64 // of a file
	ModTime  time.Time
	UID, GID uint32
	// Content identifies the content of a file, of a symbolic link, or of a directory with everything below it. Equal
	// values mean equal content. Files with different values almost certainly differ. Values of different
	// repositories can't be compared.
	Content string
}

// CompareResult counts what Compare found.
type CompareResult struct {
	Files, Bytes int64 // that are equal
	Different    int64 // entries that are missing, of another type, or hold something else
	Unreadable   int64 // entries that could not be read back
	// Doubtful counts apart which of the entries that RestoreOptions.Again names differ or could not be read.
	Doubtful int64
	Problems []Problem
}
