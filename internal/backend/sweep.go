package backend

import (
	"cmp"
	"context"
	"time"

	"github.com/cairn-backup/cairn/internal/backend/layout"
)

// sweptAfter is how long nobody must have written to a file before a sweep takes its writer for dead. A request of the
// engine ends after ten minutes, and each byte that arrives makes the file new. A writer that was paused for longer
// finds its file gone: its request fails, as after a lost connection.
const sweptAfter = 24 * time.Hour

// Swept is what a sweep has removed.
type Swept struct {
	Files int
	Bytes int64
}

// written is a file, and when somebody last wrote to it by the clock of the storage.
type written struct {
	path string
	size int64
	last time.Time
}

// hides is a storage that shows files while they are written, under names of their own.
type hides interface {
	// written returns the files below a directory whose path is wanted. Several calls of wants can run at once.
	written(ctx context.Context, directory string, wants func(string) bool) ([]written, error)
	// discard removes a file. It leaves its directory, into which somebody else can write.
	discard(ctx context.Context, path string) error
}

// Sweep removes what killed processes and broken connections have left of the files that they were writing in the
// parts of a repository. It never removes a file with another name, nor one that was written to within a day. The
// caller holds the KeeperLease, whose file tells the time of the storage. Beside an error, it returns what was removed.
// An object store shows only whole files, so there is nothing to sweep.
func Sweep(ctx context.Context, s Store, directory string) (swept Swept, err error) {
	x, ok := s.(hides)
	if !ok {
		return swept, nil
	}
	now, err := storageTime(ctx, x, directory)
	if err != nil || now.IsZero() {
		return swept, err
	}
	for _, part := range layout.Parts(directory) {
		files, lerr := x.written(ctx, part, func(p string) bool { return layout.IsTemporary(directory, p) })
		err = cmp.Or(err, lerr)
		for _, file := range files {
			if !isKnown(file.last) || now.Sub(file.last) < sweptAfter {
				continue
			}
			if derr := x.discard(ctx, file.path); derr != nil {
				err = cmp.Or(err, derr)
				continue
			}
			swept.Files++
			swept.Bytes += file.size
		}
	}
	return swept, err
}

// storageTime returns when the KeeperLease was last renewed, by the clock of the storage, or 0 if the storage does not
// tell.
func storageTime(ctx context.Context, x hides, directory string) (now time.Time, _ error) {
	isLease := func(p string) bool {
		_, ok := layout.ParseKeeperLeasePath(directory, p)
		return ok
	}
	leases, err := x.written(ctx, layout.KeeperPath(directory), isLease)
	last := int64(-1)
	for _, lease := range leases {
		if n, _ := layout.ParseKeeperLeasePath(directory, lease.path); n > last && isKnown(lease.last) {
			last, now = n, lease.last
		}
	}
	return now, err
}

// isKnown reports whether a server told the time of a file. Those that do not leave the beginning of the Unix time.
func isKnown(t time.Time) bool { return t.Unix() > 0 }
