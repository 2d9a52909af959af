package kopia

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo/blob"

	"github.com/cairn-backup/cairn/internal/repository"
)

// kopia reads its storage settings, with their secrets, from a file. The storage type that is registered here writes
// only a handle to that file. The settings stay in this process.
type handleOptions struct {
	Handle string `json:"handle"`
}

type storageFunc func(ctx context.Context, create bool) (blob.Storage, error)

var (
	handles    sync.Map // handle -> storageFunc
	nextHandle atomic.Int64
)

const storageType = "cairn"

func init() {
	// A writer whose clock is wrong by more than 5 minutes breaks the age limits of garbage collection and the order of
	// snapshots. kopia compares the clock with that of the storage only where this variable is set.
	// Maintenance moves contents out of small packs, also deleted ones. With the second variable it goes on if one of
	// these can't be read. Otherwise a lost pack, however little it held, would end each maintenance for ever.
	for _, name := range []string{"KOPIA_ENABLE_CLOCK_SKEW_CHECK", "KOPIA_IGNORE_MAINTENANCE_REWRITE_ERROR"} {
		if _, set := os.LookupEnv(name); !set {
			_ = os.Setenv(name, "true")
		}
	}
	blob.AddSupportedStorage(storageType, handleOptions{},
		func(ctx context.Context, o *handleOptions, create bool) (blob.Storage, error) {
			f, ok := handles.Load(o.Handle)
			if !ok {
				return nil, fmt.Errorf("storage handle %q belongs to another process", o.Handle)
			}
			return f.(storageFunc)(ctx, create)
		})
}

// handleStorage returns a ConnectionInfo without secrets.
type handleStorage struct {
	blob.Storage
	handle string
}

func (s *handleStorage) ConnectionInfo() blob.ConnectionInfo {
	return blob.ConnectionInfo{Type: storageType, Config: &handleOptions{Handle: s.handle}}
}

func (d Driver) storage(
	r repository.Repository, packs **packReader, watch func(blob.Storage) blob.Storage,
) (string, storageFunc) {
	h := strconv.FormatInt(nextHandle.Add(1), 10)
	return h, func(ctx context.Context, create bool) (blob.Storage, error) {
		within := cmp.Or(d.within, answerWithin)
		st, err := openWithin(ctx, within, r.Storage, create)
		if err != nil {
			return nil, err
		}
		if d.below != nil {
			st = d.below(st)
		}
		st = newBounded(st, within, r.Storage.MaxConnections)
		if d.Wrap != nil {
			st = d.Wrap(st)
		}
		if watch != nil {
			st = watch(st)
		}
		p := &packReader{Storage: markers{st}, direct: r.Storage.Local != nil}
		if packs != nil {
			*packs = p
		}
		return &handleStorage{p, h}, nil
	}
}
