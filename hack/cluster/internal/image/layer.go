package image

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// layer writes the one layer of an image.
type layer struct {
	tw      *tar.Writer
	seen    map[string]bool   // paths that are written, without the first slash
	claimed map[string]bool   // paths that Spec.Files will write
	first   map[string]string // file on disk -> its first path in the image
}

// writeLayer writes roots, then files, then what every image has. What comes
// first stays; roots leave out what the files claim. Roots go first because
// their directories and their links to directories are the ones to keep.
func writeLayer(w io.Writer, s Spec) error {
	l := &layer{tw: tar.NewWriter(w), seen: map[string]bool{}, claimed: map[string]bool{}, first: map[string]string{}}
	for _, f := range s.Files {
		l.claimed[f.Path[1:]] = true
	}
	for _, r := range s.Roots {
		if err := l.root(r); err != nil {
			return fmt.Errorf("add %s: %w", r, err)
		}
	}
	for _, f := range s.Files {
		if err := l.file(f); err != nil {
			return err
		}
	}
	if err := l.base(); err != nil {
		return err
	}
	return l.tw.Close()
}

// base adds what every image has.
func (l *layer) base() error {
	if !l.seen["tmp"] {
		if err := l.dir("tmp", 0o1777); err != nil {
			return err
		}
	}
	// runAsUser by name and look-ups of users need these.
	texts := []struct{ path, text string }{
		{
			"etc/passwd",
			fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%[1]d:%[1]d:nonroot:/tmp:/sbin/nologin\n", NonRoot),
		},
		{"etc/group", fmt.Sprintf("root:x:0:\nnonroot:x:%d:\n", NonRoot)},
	}
	for _, t := range texts {
		if err := l.put(t.path, 0o644, int64(len(t.text)), strings.NewReader(t.text)); err != nil {
			return err
		}
	}
	ca, err := os.Open(CAFile)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	defer ca.Close()
	fi, err := ca.Stat()
	if err != nil {
		return err
	}
	return l.put(CAFile[1:], 0o644, fi.Size(), ca)
}

// file adds a file of the machine. The same one under a second path becomes a
// hard link.
func (l *layer) file(f File) error {
	real, err := filepath.EvalSymlinks(f.Source)
	if err != nil {
		return fmt.Errorf("add %s: %w", f.Path, err)
	}
	name := f.Path[1:]
	if first, ok := l.first[real]; ok && !l.seen[name] {
		if err := l.parents(name); err != nil {
			return err
		}
		l.seen[name] = true
		return l.tw.WriteHeader(
			&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: first, Mode: 0o755, ModTime: epoch})
	}
	in, err := os.Open(real)
	if err != nil {
		return fmt.Errorf("add %s: %w", f.Path, err)
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return fmt.Errorf("add %s: %w", f.Path, err)
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("add %s: %s is no regular file", f.Path, real)
	}
	if !l.seen[name] {
		l.first[real] = name
	}
	return l.put(name, 0o755, fi.Size(), in)
}

// put adds a regular file unless the path is taken.
func (l *layer) put(name string, mode, size int64, data io.Reader) error {
	if l.seen[name] {
		return nil
	}
	if err := l.parents(name); err != nil {
		return err
	}
	l.seen[name] = true
	if err := l.tw.WriteHeader(
		&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: epoch}); err != nil {
		return err
	}
	_, err := io.Copy(l.tw, data)
	return err
}

// parents adds the missing directories above a path.
func (l *layer) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." || l.seen[dir] {
		return nil
	}
	if err := l.parents(dir); err != nil {
		return err
	}
	mode := int64(0o755)
	if dir == "tmp" {
		mode = 0o1777
	}
	return l.dir(dir, mode)
}

func (l *layer) dir(name string, mode int64) error {
	l.seen[name] = true
	return l.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: epoch})
}

// WithLibraries returns the files that make the dynamically linked program at
// source run at path in an image: the program, its loader, and its libraries.
func WithLibraries(source, path string) ([]File, error) {
	libs, err := libraries(source)
	if err != nil {
		return nil, fmt.Errorf("find the libraries of %s: %w", source, err)
	}
	files := []File{{Source: source, Path: path}}
	sort.Strings(libs)
	for _, lib := range libs {
		files = append(files, File{Source: lib, Path: lib})
	}
	return files, nil
}
