package backend

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/cloud"
)

// bucket is a flat space of named objects.
type bucket interface {
	// get returns an object, or ErrNotFound.
	get(ctx context.Context, key string) ([]byte, error)
	// put writes an object. With absent, it fails with ErrExists if the object exists.
	put(ctx context.Context, key string, data []byte, absent bool) error
	// list calls each for every key that begins with prefix.
	list(ctx context.Context, prefix string, each func(key string)) error
	// remove removes an object. A missing object is no error.
	remove(ctx context.Context, key string) error
}

// cloudStore keeps files in a bucket of Google or Azure.
type cloudStore struct {
	bucket bucket
	prefix string
	within time.Duration
}

func openCloud(s repository.Storage) (*cloudStore, error) {
	if err := cloud.Guard(s); err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	var b bucket
	var err error
	if s.GCS != nil {
		b, err = openGCS(*s.GCS)
	} else {
		b, err = openAzure(*s.Azure)
	}
	if err != nil {
		return nil, repository.Classify("open storage", err)
	}
	return &cloudStore{bucket: b, prefix: s.Prefix(), within: answerTimeout}, nil
}

func (s *cloudStore) key(p string) string { return path.Join(s.prefix, p) }

// Get implements Store.
func (s *cloudStore) Get(ctx context.Context, p string) ([]byte, error) {
	if err := checkPath(p); err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	ctx, alive := newDeadline(ctx, s.within)
	defer alive.stop()
	data, err := s.bucket.get(ctx, s.key(p))
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", p, ErrNotFound)
	}
	return data, alive.classify("read "+p, err)
}

// Put implements Store.
func (s *cloudStore) Put(ctx context.Context, p string, data []byte) error {
	return s.write(ctx, p, data, false)
}

// PutIfAbsent implements Store.
func (s *cloudStore) PutIfAbsent(ctx context.Context, p string, data []byte) error {
	return s.write(ctx, p, data, true)
}

func (s *cloudStore) write(ctx context.Context, p string, data []byte, absent bool) error {
	if err := checkPut(p, data); err != nil {
		return fmt.Errorf("write %s: %w", p, err)
	}
	ctx, alive := newDeadline(ctx, s.within)
	defer alive.stop()
	err := s.bucket.put(ctx, s.key(p), data, absent)
	if errors.Is(err, ErrExists) {
		return fmt.Errorf("%s: %w", p, ErrExists)
	}
	return alive.classify("write "+p, err)
}

// List implements Store.
func (s *cloudStore) List(ctx context.Context, directory string) ([]string, error) {
	if directory != "" {
		if err := checkPath(directory); err != nil {
			return nil, fmt.Errorf("list %s: %w", directory, err)
		}
	}
	ctx, alive := newDeadline(ctx, s.within)
	defer alive.stop()
	start := s.key(directory)
	if start != "" {
		start += "/"
	}
	var found []string
	err := s.bucket.list(ctx, start, func(key string) {
		alive.answered()
		if !strings.HasSuffix(key, "/") { // other programs make such keys as markers of directories
			found = append(found, strings.TrimPrefix(strings.TrimPrefix(key, s.prefix), "/"))
		}
	})
	if err != nil {
		return nil, alive.classify("list "+directory, err)
	}
	slices.Sort(found)
	return found, nil
}

// Delete implements Store.
func (s *cloudStore) Delete(ctx context.Context, p string) error {
	if err := checkPath(p); err != nil {
		return fmt.Errorf("delete %s: %w", p, err)
	}
	ctx, alive := newDeadline(ctx, s.within)
	defer alive.stop()
	return alive.classify("delete "+p, s.bucket.remove(ctx, s.key(p)))
}

// DeleteAll implements Store.
func (s *cloudStore) DeleteAll(ctx context.Context, directory string) error {
	if err := checkPath(directory); err != nil {
		return fmt.Errorf("delete %s: %w", directory, err)
	}
	files, err := s.List(ctx, directory)
	if err != nil {
		return err
	}
	ctx, alive := newDeadline(ctx, s.within)
	defer alive.stop()
	for _, file := range files {
		if err := s.bucket.remove(ctx, s.key(file)); err != nil {
			return alive.classify("delete "+directory, err)
		}
		alive.answered()
	}
	return nil
}
