// Package tree writes, reads, and compares directory trees with everything a
// backup has to keep: types, modes, owners, times to the nanosecond, links, and
// holes. It works on streams and needs memory for directories and hard links
// only, never for contents.
package tree

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// blockSize is the unit in which files have holes.
const blockSize = 4096

// visit is called for every entry with its path below the walked directory;
// that of the directory itself is ".".
type visit func(rel, path string, fi fs.FileInfo, st *syscall.Stat_t) error

// walk visits a directory and all below it, each directory's entries in the
// order of the bytes of their names, a directory before its content.
func walk(dir string, f visit) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		return f(rel, p, fi, fi.Sys().(*syscall.Stat_t)) // on Linux it is always this type
	})
}

// sparse guesses from a file's size and blocks whether it has holes.
func sparse(fi fs.FileInfo, st *syscall.Stat_t) bool {
	return fi.Mode().IsRegular() && st.Blocks*512+blockSize <= fi.Size()
}

// setTime sets the modification time of path itself, also of a link.
func setTime(path string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return &fs.PathError{Op: "set time of", Path: path, Err: err}
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "set time of", Path: path, Err: err}
	}
	return nil
}
