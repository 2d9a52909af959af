package repository

import (
	"io/fs"
	"time"
)

// Entry is one entry of a directory of a snapshot.
type Entry struct {
	Name string
	// Mode has the type and the permission bits.
	Mode     fs.FileMode
	Size     int64 // of a file
	ModTime  time.Time
	UID, GID uint32
	// Content identifies what is in a file, a symbolic link or, with all that is below it, a directory. Equal ones have equal
	// content; of files with different ones it is as good as certain that they differ. It means nothing in another repository.
	Content string
}

// CompareResult counts what Compare looked at.
type CompareResult struct {
	Files, Bytes int64 // that are equal
	Different    int64 // entries that are missing, of another type, or hold something else
	Unreadable   int64 // entries that could not be read back
	Problems     []Problem
}
