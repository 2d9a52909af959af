package image

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// root adds a directory or a tar file with owners, modes, and links. Times
// become epoch. Devices and sockets are left out: the container runtime makes
// its own devices.
func (l *layer) root(source string) error {
	fi, err := os.Stat(source)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return l.rootDir(source)
	}
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	return l.rootTar(f)
}

func (l *layer) rootTar(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := l.entry(h, tr); err != nil {
			return fmt.Errorf("add %s: %w", h.Name, err)
		}
	}
}

func (l *layer) rootDir(dir string) error {
	first := map[[2]uint64]string{} // device and inode -> first path, for hard links
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		target := ""
		if fi.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(p); err != nil {
				return err
			}
		}
		if fi.Mode()&fs.ModeSocket != 0 {
			return nil
		}
		h, err := tar.FileInfoHeader(fi, target)
		if err != nil {
			return err
		}
		h.Name = filepath.ToSlash(rel)
		if id, many := inode(fi); many {
			if name, ok := first[id]; ok {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, name, 0
			} else {
				first[id] = h.Name
			}
		}
		if h.Typeflag != tar.TypeReg {
			return l.entry(h, nil)
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return l.entry(h, f)
	})
}

// entry adds one entry of a root unless its path is taken or claimed.
func (l *layer) entry(h *tar.Header, data io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" || l.seen[name] || l.claimed[name] {
		return nil
	}
	out := &tar.Header{
		Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size,
		Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, ModTime: epoch,
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeSymlink, tar.TypeFifo:
	case tar.TypeGNUSparse:
		out.Typeflag = tar.TypeReg
	case tar.TypeLink:
		out.Linkname = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
	case tar.TypeDir:
		out.Name += "/"
	default:
		return nil
	}
	if err := l.parents(name); err != nil {
		return err
	}
	l.seen[name] = true
	if err := l.tw.WriteHeader(out); err != nil {
		return err
	}
	if out.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.Copy(l.tw, data)
	return err
}
