package backend

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/remote"
)

// localStore keeps files below a directory. Every access goes through os.Root, so a symbolic link can't lead out of
// the volume.
type localStore struct{ path, prefix string }

// root opens the volume, which must exist: a volume that is not mounted must not look like an empty one.
func (s *localStore) root() (*os.Root, error) {
	root, err := os.OpenRoot(s.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, &repository.Error{Op: "open storage", Kind: repository.ErrNoBucket, Err: err}
	}
	return root, err
}

func (s *localStore) name(p string) string { return path.Join(s.prefix, p) }

// Get implements Store.
func (s *localStore) Get(ctx context.Context, p string) ([]byte, error) {
	var data []byte
	err := s.do(ctx, "read "+p, checkPath(p), func(root *os.Root) error {
		f, err := root.OpenFile(s.name(p), os.O_RDONLY|syscall.O_NONBLOCK, 0) // it can be a FIFO
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", p, ErrNotFound)
		}
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return errors.Join(err, fmt.Errorf("%s is no regular file: remove it from the storage", p))
		}
		data, err = readAll(f, p)
		return err
	})
	return data, err
}

// readAll reads at most maxSize bytes.
func readAll(r io.Reader, p string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err == nil && len(data) > maxSize {
		return nil, fmt.Errorf("%s has more than %d bytes", p, maxSize)
	}
	return data, err
}

// Put implements Store.
func (s *localStore) Put(ctx context.Context, p string, data []byte) error {
	return s.do(ctx, "write "+p, checkPut(p, data), func(root *os.Root) error {
		return s.throughTemp(root, p, data, root.Rename)
	})
}

// PutIfAbsent implements Store. It uses a hard link, which creates a complete file at once and fails if the name
// exists.
func (s *localStore) PutIfAbsent(ctx context.Context, p string, data []byte) error {
	return s.do(ctx, "write "+p, checkPut(p, data), func(root *os.Root) error {
		err := s.throughTemp(root, p, data, root.Link)
		if errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported) { // a file system without links
			err = write(root, s.name(p), data)
		}
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w", p, ErrExists)
		}
		return err
	})
}

// throughTemp writes a temporary file beside p and lets place move it to p.
func (s *localStore) throughTemp(root *os.Root, p string, data []byte, place func(from, to string) error) error {
	dir := path.Dir(s.name(p))
	if err := root.MkdirAll(dir, 0o770); err != nil {
		return err
	}
	temp := path.Join(dir, remote.TempPrefix+rand.Text())
	if err := write(root, temp, data); err != nil {
		return err
	}
	err := place(temp, s.name(p))
	if rerr := root.Remove(temp); err == nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = rerr
	}
	return err
}

// write creates a file and syncs it to disk. It removes a file that it could not complete.
func write(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		err = errors.Join(err, root.Remove(name))
	}
	return err
}

// List implements Store.
func (s *localStore) List(ctx context.Context, directory string) ([]string, error) {
	return s.find(ctx, directory, func(d fs.DirEntry) bool { return isListed(d.Name(), d.Type()) })
}

func (s *localStore) unlisted(ctx context.Context, directory string) (specials, hidden []string, err error) {
	err = s.walk(ctx, directory, func(p string, d fs.DirEntry) error {
		switch {
		case isSpecial(d.Type()):
			specials = append(specials, p)
		case isHiddenFile(d.Name(), d.Type()):
			hidden = append(hidden, p)
		}
		return nil
	})
	slices.Sort(specials)
	slices.Sort(hidden)
	return specials, hidden, err
}

func (s *localStore) written(ctx context.Context, directory string, wants func(string) bool) ([]written, error) {
	var found []written
	err := s.walk(ctx, directory, func(p string, d fs.DirEntry) error {
		if !d.Type().IsRegular() || !wants(p) {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) { // it has its name now
			return nil
		}
		if err == nil {
			found = append(found, written{path: p, size: info.Size(), last: info.ModTime()})
		}
		return err
	})
	return found, err
}

func (s *localStore) lstat(ctx context.Context, p string) (mode fs.FileMode, err error) {
	err = s.do(ctx, "look at "+p, checkPath(p), func(root *os.Root) error {
		info, err := root.Lstat(s.name(p))
		if err != nil {
			return notFound(p, err)
		}
		mode = info.Mode()
		return nil
	})
	return mode, err
}

func (s *localStore) reaches(ctx context.Context, p string) error {
	return s.do(ctx, "look behind "+p, checkPath(p), func(root *os.Root) error {
		_, err := root.Stat(s.name(p))
		return notFound(p, err)
	})
}

// find returns the sorted paths below a directory for which wants is true.
func (s *localStore) find(ctx context.Context, directory string, wants func(fs.DirEntry) bool) ([]string, error) {
	var found []string
	err := s.walk(ctx, directory, func(p string, d fs.DirEntry) error {
		if wants(d) {
			found = append(found, p)
		}
		return nil
	})
	slices.Sort(found)
	return found, err
}

// walk calls each for what lies below a directory.
func (s *localStore) walk(ctx context.Context, directory string, each func(string, fs.DirEntry) error) error {
	var bad error
	if directory != "" {
		bad = checkPath(directory)
	}
	return s.do(ctx, "list "+directory, bad, func(root *os.Root) error {
		start := path.Join(".", s.prefix, directory)
		return fs.WalkDir(root.FS(), start, func(p string, d fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, fs.ErrNotExist): // it never existed, or was removed meanwhile
				return nil
			case err != nil:
				return err
			}
			return each(strings.TrimPrefix(strings.TrimPrefix(p, s.prefix), "/"), d)
		})
	})
}

// Delete implements Store. It removes directories that are empty then. A link to one stays: other files lie behind it.
func (s *localStore) Delete(ctx context.Context, p string) error {
	return s.do(ctx, "delete "+p, checkPath(p), func(root *os.Root) error {
		if err := discard(root, s.name(p)); err != nil {
			return err
		}
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			info, err := root.Lstat(s.name(dir))
			if err != nil || !info.IsDir() || root.Remove(s.name(dir)) != nil { // it is not empty
				break
			}
		}
		return nil
	})
}

func (s *localStore) discard(ctx context.Context, p string) error {
	return s.do(ctx, "delete "+p, checkPath(p), func(root *os.Root) error { return discard(root, s.name(p)) })
}

// discard removes a file. A missing one is no error.
func discard(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// DeleteAll implements Store. It removes symbolic links and never follows them.
func (s *localStore) DeleteAll(ctx context.Context, directory string) error {
	return s.do(ctx, "delete "+directory, checkPath(directory), func(root *os.Root) error {
		return root.RemoveAll(s.name(directory))
	})
}

// do opens the volume, calls f and classifies its error.
func (s *localStore) do(ctx context.Context, op string, bad error, f func(*os.Root) error) error {
	if bad != nil {
		return fmt.Errorf("%s: %w", op, bad)
	}
	if err := ctx.Err(); err != nil {
		return repository.Classify(op, err)
	}
	root, err := s.root()
	if err != nil {
		return repository.Classify(op, err)
	}
	defer func() { _ = root.Close() }()
	return classify(op, f(root))
}

// classify attaches a kind to an error, except to this package's own errors.
func classify(op string, err error) error {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) {
		return err
	}
	return repository.Classify(op, err)
}
