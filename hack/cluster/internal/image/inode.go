package image

import (
	"io/fs"
	"syscall"
)

// inode identifies a file and tells whether it is a regular one with several
// names.
func inode(fi fs.FileInfo) (id [2]uint64, many bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() {
		return id, false
	}
	return [2]uint64{uint64(st.Dev), st.Ino}, st.Nlink > 1 //nolint:unconvert // Dev is 32 bits wide elsewhere
}
