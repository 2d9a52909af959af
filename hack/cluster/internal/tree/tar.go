package tree

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// paxSparse marks files with holes. Go's writer cannot leave holes out of the
// stream, so that they travel as zeros.
const paxSparse = "CAIRN.sparse"

// Tar writes dir and all below it as a PAX tar stream with modes, owners,
// times to the nanosecond, symbolic and hard links. Sockets, pipes, and devices
// are left out.
func Tar(w io.Writer, dir string) error {
	tw := tar.NewWriter(w)
	first := map[[2]uint64]string{} // device and inode -> first path, for hard links
	err := walk(dir, func(rel, path string, fi fs.FileInfo, st *syscall.Stat_t) error {
		h, err := header(rel, path, fi, st)
		if err != nil || h == nil {
			return err
		}
		if h.Typeflag == tar.TypeReg && st.Nlink > 1 {
			id := [2]uint64{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is 32 bits wide elsewhere
			if name, ok := first[id]; ok {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, name, 0
			} else {
				first[id] = h.Name
			}
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		return copyInto(tw, path)
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	return nil
}

// header returns nil for what a tar stream is not to hold.
func header(rel, path string, fi fs.FileInfo, st *syscall.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: rel, Mode: int64(st.Mode & 0o7777),
		Uid: int(st.Uid), Gid: int(st.Gid), ModTime: fi.ModTime(),
	}
	switch fi.Mode().Type() {
	case 0:
		h.Typeflag, h.Size = tar.TypeReg, fi.Size()
		if sparse(fi, st) {
			h.PAXRecords = map[string]string{paxSparse: "1"}
		}
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	default:
		return nil, nil
	}
	return h, nil
}

func copyInto(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
