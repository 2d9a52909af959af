package backend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/remote"
)

// filesStore keeps files on a file server.
type filesStore struct {
	tree   remote.Tree
	prefix string
	within time.Duration
}

func openFiles(s repository.Storage) (*filesStore, error) {
	tree, err := remote.Open(s)
	if err != nil {
		return nil, repository.Classify("open storage", err)
	}
	return &filesStore{tree: tree, prefix: s.Prefix(), within: answerTimeout}, nil
}

func (s *filesStore) name(p string) string { return path.Join(s.prefix, p) }

// Get implements Store.
func (s *filesStore) Get(ctx context.Context, p string) ([]byte, error) {
	var data []byte
	err := s.do(ctx, "read "+p, checkPath(p), func(ctx context.Context, _ *deadline) (err error) {
		data, err = s.tree.Read(ctx, s.name(p), 0, maxSize+1)
		if err == nil && len(data) > maxSize {
			err = fmt.Errorf("%s has more than %d bytes", p, maxSize)
		}
		return notFound(p, err)
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// notFound turns the error for a missing file into ErrNotFound. A missing storage keeps its own error.
func notFound(p string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(*repository.Error)) {
		return fmt.Errorf("%s: %w", p, ErrNotFound)
	}
	return err
}

// Put implements Store.
func (s *filesStore) Put(ctx context.Context, p string, data []byte) error {
	return s.do(ctx, "write "+p, checkPut(p, data), func(ctx context.Context, _ *deadline) error {
		return s.tree.Write(ctx, s.name(p), slices.Clone(data), false)
	})
}

// PutIfAbsent implements Store.
func (s *filesStore) PutIfAbsent(ctx context.Context, p string, data []byte) error {
	return s.do(ctx, "write "+p, checkPut(p, data), func(ctx context.Context, _ *deadline) error {
		err := s.tree.Write(ctx, s.name(p), slices.Clone(data), true)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w", p, ErrExists)
		}
		return err
	})
}

// List implements Store.
func (s *filesStore) List(ctx context.Context, directory string) ([]string, error) {
	return s.find(ctx, directory, func(_ string, e fs.FileInfo) bool { return isListed(e.Name(), e.Mode()) })
}

func (s *filesStore) unlisted(ctx context.Context, directory string) (specials, hidden []string, err error) {
	hidden, err = s.find(ctx, directory, func(p string, e fs.FileInfo) bool {
		if isSpecial(e.Mode()) {
			specials = append(specials, p)
		}
		return isHiddenFile(e.Name(), e.Mode())
	})
	slices.Sort(specials)
	return specials, hidden, err
}

// listedAtOnce is how many directories are listed in parallel where there can be thousands, as kopia does.
const listedAtOnce = 8

func (s *filesStore) written(ctx context.Context, directory string, wants func(string) bool) ([]written, error) {
	var mu sync.Mutex
	var found []written
	err := s.do(ctx, "list "+directory, checkPath(directory), func(ctx context.Context, alive *deadline) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(listedAtOnce)
		var visit func(dir string) error
		visit = func(dir string) error {
			entries, err := s.entries(ctx, alive, dir)
			for _, e := range entries {
				p := path.Join(dir, e.Name())
				switch {
				case e.IsDir():
					if g.TryGo(func() error { return visit(p) }) {
						continue
					}
					if err := visit(p); err != nil {
						return err
					}
				case e.Mode().IsRegular() && wants(p):
					mu.Lock()
					found = append(found, written{path: p, size: e.Size(), last: e.ModTime()})
					mu.Unlock()
				}
			}
			return err
		}
		g.Go(func() error { return visit(directory) })
		return g.Wait()
	})
	return found, err
}

func (s *filesStore) lstat(ctx context.Context, p string) (mode fs.FileMode, err error) {
	err = s.do(ctx, "look at "+p, checkPath(p), func(ctx context.Context, _ *deadline) error {
		entries, err := s.tree.List(ctx, s.name(path.Dir(p)))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(entries, func(e fs.FileInfo) bool { return e.Name() == path.Base(p) })
		if i < 0 {
			return fmt.Errorf("%s: %w", p, ErrNotFound)
		}
		mode = entries[i].Mode()
		return nil
	})
	return mode, err
}

func (s *filesStore) reaches(ctx context.Context, p string) error {
	return s.do(ctx, "look behind "+p, checkPath(p), func(ctx context.Context, _ *deadline) error {
		_, err := s.tree.Stat(ctx, s.name(p))
		return notFound(p, err)
	})
}

// find returns the sorted paths below a directory for which wants is true.
func (s *filesStore) find(
	ctx context.Context, directory string, wants func(string, fs.FileInfo) bool,
) ([]string, error) {
	var bad error
	if directory != "" {
		bad = checkPath(directory)
	}
	var found []string
	err := s.do(ctx, "list "+directory, bad, func(ctx context.Context, alive *deadline) error {
		found = nil
		return s.walk(ctx, alive, directory, wants, &found)
	})
	slices.Sort(found)
	return found, err
}

func (s *filesStore) walk(
	ctx context.Context, alive *deadline, dir string, wants func(string, fs.FileInfo) bool, found *[]string,
) error {
	entries, err := s.entries(ctx, alive, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if err := s.walk(ctx, alive, p, wants, found); err != nil {
				return err
			}
		case wants(p, e):
			*found = append(*found, p)
		}
	}
	return nil
}

func (s *filesStore) entries(ctx context.Context, alive *deadline, dir string) ([]fs.FileInfo, error) {
	entries, err := s.tree.List(ctx, s.name(dir))
	if errors.Is(notFound(dir, err), ErrNotFound) { // it never existed, or was removed meanwhile
		return nil, nil
	}
	if err == nil {
		alive.answered()
	}
	return entries, err
}

// Delete implements Store. Empty directories stay: the protocols have no safe way to remove a directory only if it is
// empty.
func (s *filesStore) Delete(ctx context.Context, p string) error {
	return s.do(ctx, "delete "+p, checkPath(p), func(ctx context.Context, _ *deadline) error {
		return s.tree.Remove(ctx, s.name(p))
	})
}

func (s *filesStore) discard(ctx context.Context, p string) error { return s.Delete(ctx, p) }

// DeleteAll implements Store. It also removes what a killed process was writing.
func (s *filesStore) DeleteAll(ctx context.Context, directory string) error {
	files, err := s.find(ctx, directory, func(_ string, e fs.FileInfo) bool { return e.Mode().IsRegular() })
	if directory == "" {
		err = errors.Join(err, checkPath(directory))
	}
	if err != nil {
		return err
	}
	return s.do(ctx, "delete "+directory, nil, func(ctx context.Context, alive *deadline) error {
		for _, file := range files {
			if err := s.tree.Remove(ctx, s.name(file)); err != nil {
				return err
			}
			alive.answered()
		}
		return nil
	})
}

// do limits the time of a call and classifies its error.
func (s *filesStore) do(ctx context.Context, op string, bad error, f func(context.Context, *deadline) error) error {
	if bad != nil {
		return fmt.Errorf("%s: %w", op, bad)
	}
	inner, alive := newDeadline(ctx, s.within)
	defer alive.stop()
	return alive.classify(op, f(inner, alive))
}
