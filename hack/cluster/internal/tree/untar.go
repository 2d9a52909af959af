package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Untar unpacks a tar stream into dir, which must exist: contents, modes,
// owners if this is root, times (also of links), symbolic and hard links, and
// holes in files that the stream marks as sparse. What is there already is
// replaced, and nothing outside of dir is written.
func Untar(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack into %s: %w", dir, err)
	}
	defer root.Close()
	u := &unpacker{root: root, dir: dir, owners: os.Geteuid() == 0}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = u.entry(h, tr)
		}
		if err != nil {
			return fmt.Errorf("unpack into %s: %w", dir, err)
		}
	}
	if err := u.finishDirectories(); err != nil {
		return fmt.Errorf("unpack into %s: %w", dir, err)
	}
	return nil
}

// unpacker is one run of Untar.
type unpacker struct {
	root   *os.Root
	dir    string
	owners bool
	dirs   []attributes
}

// attributes is the final state of an entry. A directory gets it when nothing
// more is written into it.
type attributes struct {
	name     string
	mode     fs.FileMode
	uid, gid int
	modified time.Time
}

func (u *unpacker) entry(h *tar.Header, data io.Reader) error {
	name := path.Clean(h.Name)
	if !filepath.IsLocal(name) {
		return fmt.Errorf("entry %q leads out of the directory", h.Name)
	}
	mode := h.FileInfo().Mode()
	if h.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, attributes{name, mode, h.Uid, h.Gid, h.ModTime})
		return u.mkdir(name)
	}
	if err := u.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := u.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		if err := u.file(name, h, data); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeLink:
		return u.root.Link(path.Clean(h.Linkname), name) // it shares the attributes too
	default:
		return fmt.Errorf("entry %q has the unsupported type %q", h.Name, h.Typeflag)
	}
	return u.set(attributes{name, mode, h.Uid, h.Gid, h.ModTime})
}

func (u *unpacker) mkdir(name string) error {
	if fi, err := u.root.Stat(name); err == nil && fi.IsDir() {
		return nil
	}
	return u.root.MkdirAll(name, 0o700)
}

func (u *unpacker) file(name string, h *tar.Header, data io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if marked(h) {
		err = copySparse(f, data, h.Size)
	} else {
		_, err = io.Copy(f, data)
	}
	return errors.Join(err, f.Close())
}

// marked tells whether a tar writer (this one, GNU tar, or libarchive) noted
// that the file has holes.
func marked(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse || h.PAXRecords[paxSparse] != "" {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// copySparse writes size bytes and leaves holes for blocks of zeros.
func copySparse(f *os.File, data io.Reader, size int64) error {
	block, zeros := make([]byte, blockSize), make([]byte, blockSize)
	for at := int64(0); ; at += blockSize {
		n, err := io.ReadFull(data, block)
		if n > 0 && !bytes.Equal(block[:n], zeros[:n]) {
			if _, err := f.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return f.Truncate(size)
		} else if err != nil {
			return err
		}
	}
}

// set sets the owner first, because that clears the set-id bits.
func (u *unpacker) set(d attributes) error {
	if u.owners {
		if err := u.root.Lchown(d.name, d.uid, d.gid); err != nil {
			return err
		}
	}
	if d.mode&fs.ModeSymlink == 0 { // a link has no mode
		if err := u.root.Chmod(d.name, d.mode); err != nil {
			return err
		}
	}
	return setTime(filepath.Join(u.dir, d.name), d.modified)
}

// finishDirectories works from the innermost to the outermost directory: a
// finished one may be closed to its owner.
func (u *unpacker) finishDirectories() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		if err := u.set(u.dirs[i]); err != nil {
			return err
		}
	}
	return nil
}
