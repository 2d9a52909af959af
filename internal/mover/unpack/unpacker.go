// Package unpack writes the files of an archive into a volume. Nothing it writes leaves the volume.
package unpack

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/repository"
)

// Unpacker writes the files of a tar archive into one directory and nowhere else.
type Unpacker struct {
	Root *os.Root
	// Owners gives every entry to the owner of the first one. The archive of a server's files has one owner, except
	// for files that the program at the other end adds with a meaningless number, as pg_basebackup does.
	Owners   bool
	uid, gid int
	// Files counts the files that were written, foreign the entries that now have another owner.
	Files, Foreign int64
}

// errArchive is the failure for an archive that can't be unpacked.
func errArchive(why string) error {
	return failure.New(v1alpha1.ReasonLoadFailed, "the component can't be unpacked: "+why)
}

// Unwritable marks an error as caused by the volume.
func Unwritable(err error) error {
	if err == nil {
		return nil
	}
	return &repository.Error{Op: "restore", Kind: repository.ErrTarget, Err: err}
}

// Unpack reads the archive to its end. It empties the directory only once it has seen that there is an archive.
func (u *Unpacker) Unpack(r io.Reader) error {
	source := &eofReader{r: r}
	archive := tar.NewReader(source)
	for first := true; ; first = false {
		h, err := archive.Next()
		switch {
		case err == io.EOF && first:
			return errArchive("it is no tar archive, or it is empty")
		case err == io.EOF && source.ended:
			return errArchive("the archive is cut off")
		case err == io.EOF:
			_, err = io.Copy(io.Discard, source) // padding
			return err
		case err != nil:
			return archiveReadError(err, "it is no tar archive, or it is damaged")
		}
		if first {
			if err := u.begin(h); err != nil {
				return Unwritable(err)
			}
		}
		if err := u.entry(h, archive); err != nil {
			return err
		}
	}
}

// archiveReadError returns the error of reading an archive. An error that stopped the reading stays as it is.
func archiveReadError(err error, why string) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errArchive(why)
	}
	return err
}

// begin empties the directory and gives it to the archive's owner alone, as database servers need it.
func (u *Unpacker) begin(h *tar.Header) error {
	f, err := u.Root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := ClearVolumeDir(u.Root, f); err != nil {
		return err
	}
	u.uid, u.gid = h.Uid, h.Gid
	if err := u.own(f); err != nil {
		return err
	}
	return f.Chmod(0o700)
}

// ClearVolumeDir removes the content of the directory root, which is also open as f. It keeps lost+found.
func ClearVolumeDir(root *os.Root, f *os.File) error {
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == LostAndFound {
			continue
		}
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// entry writes one file or directory.
func (u *Unpacker) entry(h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	switch {
	case !filepath.IsLocal(name):
		return errArchive("the name of an entry leads out of the directory")
	case name == ".":
		return nil
	case h.Typeflag == tar.TypeDir:
		return Unwritable(u.directory(name, h))
	case h.Typeflag == tar.TypeReg:
		return u.file(name, h, content)
	}
	return errArchive("an entry is neither a file nor a directory")
}

func (u *Unpacker) directory(name string, h *tar.Header) error {
	if err := u.Root.MkdirAll(name, 0o700); err != nil {
		return err
	}
	// Another process can have put something else there. As a directory, a FIFO fails in place of waiting for a writer.
	f, err := u.Root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := u.own(f); err != nil {
		return err
	}
	return f.Chmod(0o700 | h.FileInfo().Mode().Perm()) // files will be written into it
}

func (u *Unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if err := u.Root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return Unwritable(err)
	}
	f, err := u.create(name)
	if err != nil {
		return Unwritable(err)
	}
	defer func() { _ = f.Close() }()
	to := &errorKeepingWriter{to: f}
	if _, err := io.Copy(to, content); err != nil {
		if to.err != nil {
			return Unwritable(to.err)
		}
		return archiveReadError(err, "the archive is cut off")
	}
	if err := u.own(f); err != nil {
		return Unwritable(err)
	}
	if err := f.Chmod(h.FileInfo().Mode().Perm()); err != nil {
		return Unwritable(err)
	}
	u.Files++
	return Unwritable(f.Close())
}

// maxTries is how often create removes what has the name of a file. An archive can have a name twice. Another process
// can take the name again and again.
const maxTries = 3

// create makes a new file in place of whatever has its name. It opens nothing that exists: that can be another name of
// a file outside the directory, or a FIFO.
func (u *Unpacker) create(name string) (f *os.File, err error) {
	for range maxTries {
		f, err = u.Root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		if err := u.Root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return f, err
}

// own gives a file to its owner, or counts that it belongs to another one.
func (u *Unpacker) own(f *os.File) error {
	if u.Owners {
		return f.Chown(u.uid, u.gid)
	}
	if u.uid != os.Geteuid() || u.gid != os.Getegid() {
		u.Foreign++
	}
	return nil
}

// eofReader records whether its reader has ended. A tar archive marks its own end: a reader that ends before the mark
// holds only a part.
type eofReader struct {
	r     io.Reader
	ended bool
}

// Read reads from the reader.
func (e *eofReader) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	e.ended = e.ended || err == io.EOF
	return n, err
}

// errorKeepingWriter keeps its writer's error, so that it can be told from a reader's.
type errorKeepingWriter struct {
	to  io.Writer
	err error
}

// Write passes b on.
func (w *errorKeepingWriter) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	w.err = err
	return n, err
}

// LostAndFound is a directory that some file systems create in a new volume.
const LostAndFound = "lost+found"
