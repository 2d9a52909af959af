package mover

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
)

// unpacker writes the files of a tar archive into a directory, and nowhere else.
type unpacker struct {
	root *os.Root
	// owners has all given to whom the first entry belonged to. The archive of a server's files has one owner, but for files that the
	// program at the other end adds, with a number that means nothing: pg_basebackup does.
	owners   bool
	uid, gid int
	// files that were written, and entries that belong to another one than that now.
	files, foreign int64
}

// errArchive is what is kept and can't be unpacked.
func errArchive(why string) error {
	return &failure{v1alpha1.ReasonLoadFailed, "what was kept can't be unpacked: " + why}
}

// unwritable marks an error of the volume.
func unwritable(err error) error {
	if err == nil {
		return nil
	}
	return &repository.Error{Op: "restore", Kind: repository.ErrTarget, Err: err}
}

// unpack reads the archive to its end. What is in the directory goes when it is known that there is an archive.
func (u *unpacker) unpack(r io.Reader) error {
	source := &ending{r: r}
	archive := tar.NewReader(source)
	for first := true; ; first = false {
		h, err := archive.Next()
		switch {
		case err == io.EOF && first:
			return errArchive("it is no tar archive, or an empty one")
		case err == io.EOF && source.ended:
			return errArchive("the archive breaks off")
		case err == io.EOF:
			_, err = io.Copy(io.Discard, source) // what pads the archive
			return err
		case err != nil:
			return cutOff(err, "it is no tar archive, or a broken one")
		}
		if first {
			if err := u.begin(h); err != nil {
				return unwritable(err)
			}
		}
		if err := u.entry(h, archive); err != nil {
			return err
		}
	}
}

// cutOff is the error of reading an archive. What stopped the reading says itself what it is.
func cutOff(err error, why string) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errArchive(why)
	}
	return err
}

// begin empties the directory and makes it that of the archive's owner alone, as servers of databases want it.
func (u *unpacker) begin(h *tar.Header) error {
	f, err := u.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := clearPlace(u.root, f); err != nil {
		return err
	}
	u.uid, u.gid = h.Uid, h.Gid
	if err := u.own(f); err != nil {
		return err
	}
	return f.Chmod(0o700)
}

// clearPlace removes what is in a directory, which f is, too.
func clearPlace(root *os.Root, f *os.File) error {
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == lostAndFound {
			continue
		}
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// entry writes one file or directory.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	switch {
	case !filepath.IsLocal(name):
		return errArchive("a name in it leads out of the directory")
	case name == ".":
		return nil
	case h.Typeflag == tar.TypeDir:
		return unwritable(u.directory(name, h))
	case h.Typeflag == tar.TypeReg:
		return u.file(name, h, content)
	}
	return errArchive("it holds something that is neither a file nor a directory")
}

func (u *unpacker) directory(name string, h *tar.Header) error {
	if err := u.root.MkdirAll(name, 0o700); err != nil {
		return err
	}
	f, err := u.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := u.own(f); err != nil {
		return err
	}
	return f.Chmod(0o700 | h.FileInfo().Mode().Perm()) // files are still to come into it
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return unwritable(err)
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return unwritable(err)
	}
	defer f.Close()
	to := &writing{to: f}
	if _, err := io.Copy(to, content); err != nil {
		if to.err != nil {
			return unwritable(to.err)
		}
		return cutOff(err, "the archive breaks off")
	}
	if err := u.own(f); err != nil {
		return unwritable(err)
	}
	if err := f.Chmod(h.FileInfo().Mode().Perm()); err != nil {
		return unwritable(err)
	}
	u.files++
	return unwritable(f.Close())
}

// own gives what was written to its owner, or counts that it belongs to another one.
func (u *unpacker) own(f *os.File) error {
	if u.owners {
		return f.Chown(u.uid, u.gid)
	}
	if u.uid != os.Geteuid() || u.gid != os.Getegid() {
		u.foreign++
	}
	return nil
}

// ending knows whether its end was seen. A tar archive says itself where it ends: who sees the end before that has a part of one.
type ending struct {
	r     io.Reader
	ended bool
}

// Read gives what there is.
func (e *ending) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	e.ended = e.ended || err == io.EOF
	return n, err
}

// writing keeps the error of its writer apart from that of the reader.
type writing struct {
	to  io.Writer
	err error
}

// Write passes b on.
func (w *writing) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	w.err = err
	return n, err
}
