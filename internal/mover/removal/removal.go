// Package removal removes Snapshots from a repository, for good: what an engine has deleted can come back while others
// write, and is deleted again. One goroutine at a time removes from a repository.
//
// Invariant: without an order, only what an earlier removal has confirmed gone is deleted. So a removal is written down
// in the backend after a listing has shown that the data is gone, and never before: an interrupted one goes on with its
// order alone, and what somebody gives up until then stays.
package removal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

const (
	// maxDeletions is how often one run deletes data that comes back.
	maxDeletions = 3
	// rememberFor is how long a removal is watched. It is longer than any writer can hold an old state of the
	// repository.
	rememberFor = 72 * time.Hour
	// renewAfter is how often a removal is written anew while the storage has lost descriptions of data.
	renewAfter = 24 * time.Hour
)

// Repository is the repository from which Snapshots are removed.
type Repository struct {
	Engine repository.Engine
	// Store is the storage, and Directory the normalized directory of the repository in it. UID is that of the object.
	Store     backend.Store
	Directory string
	UID       string
	// Now is the clock.
	Now func() time.Time
}

// Remove deletes the Snapshots, and what came back of earlier ones, and verifies that all of it is gone. Only then does
// it write down what it has removed.
func (x Repository) Remove(ctx context.Context, snapshots []task.Removed) error {
	removals, err := x.Remembered(ctx)
	if err != nil {
		return err
	}
	remembered := maps.Clone(removals)
	backups, err := x.find(ctx, snapshots)
	if err != nil {
		return err
	}
	for i, s := range snapshots {
		backups[i].order(removals, s)
	}
	if len(removals) == 0 {
		return nil
	}
	if err := x.delete(ctx, removals, remembered); err != nil {
		return err
	}
	for _, b := range backups {
		for _, uid := range b.uids {
			if err := x.remember(ctx, removals[uid]); err != nil {
				return err
			}
		}
		for _, file := range b.files {
			if err := x.Store.Delete(ctx, file); err != nil {
				return err
			}
		}
	}
	return x.forget(ctx, removals)
}

// Remembered reads the removals that are written down, by the UIDs of their Snapshots. Their data was gone once.
func (x Repository) Remembered(ctx context.Context) (map[string]*layout.Removal, error) {
	files, err := x.Store.List(ctx, layout.RemovedPath(x.Directory))
	if err != nil {
		return nil, err
	}
	out := map[string]*layout.Removal{}
	for _, file := range files {
		if path.Dir(file) != layout.RemovedPath(x.Directory) || layout.IsMarker(file) {
			continue // it is not the repository's
		}
		text, err := x.Store.Get(ctx, file)
		if errors.Is(err, backend.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r, err := layout.ParseRemoval(text)
		if err != nil {
			return nil, failure.New(v1alpha1.ReasonRepositoryDamaged, file+" exists but can't be used: "+err.Error())
		}
		out[r.SnapshotUID] = &r
	}
	return out, nil
}

// remember writes a removal down, with the present time as the last time its data was seen.
func (x Repository) remember(ctx context.Context, r *layout.Removal) error {
	r.Seen = x.Now().Truncate(time.Second)
	text, err := r.Marshal()
	if err != nil {
		return fmt.Errorf("encode removal: %w", err)
	}
	return x.Store.Put(ctx, layout.RemovalPath(x.Directory, r.SnapshotUID), text)
}

// delete deletes what the removals name until a listing no longer shows any of it. What comes back of those that are
// written down is written down as seen.
func (x Repository) delete(ctx context.Context, removals, remembered map[string]*layout.Removal) error {
	for range maxDeletions {
		present, err := x.present(ctx, removals)
		if err != nil || len(present) == 0 {
			return err
		}
		ids := make([]string, 0, len(present))
		for id, r := range present {
			ids = append(ids, id)
			old := remembered[r.SnapshotUID]
			if old == nil {
				continue
			}
			if err := x.remember(ctx, old); err != nil {
				return err
			}
		}
		slices.Sort(ids)
		if err := x.Engine.Delete(ctx, ids...); err != nil {
			return err
		}
	}
	present, err := x.present(ctx, removals)
	if err == nil && len(present) > 0 {
		err = failure.New(v1alpha1.ReasonRemovalPending,
			"deleted data came back while another client wrote to the repository: it will be deleted again later")
	}
	return err
}

// present returns the engine's snapshots that still exist but are to be removed.
func (x Repository) present(
	ctx context.Context, removals map[string]*layout.Removal,
) (map[string]*layout.Removal, error) {
	all, err := x.Engine.List(ctx, "")
	if err != nil {
		return nil, err
	}
	byID := map[string]*layout.Removal{}
	for _, r := range removals {
		for _, id := range r.IDs {
			byID[id] = r
		}
	}
	out := map[string]*layout.Removal{}
	for _, s := range all {
		r := removals[s.Tags[judge.TagSnapshotUID]]
		if r == nil {
			r = byID[s.ID]
		}
		if r != nil {
			out[s.ID] = r
		}
	}
	return out, nil
}

// forget drops the removals whose data was not seen for long enough. While the storage has lost descriptions of data, a
// listing does not show all: the data comes back with them, so no removal gets old.
func (x Repository) forget(ctx context.Context, removals map[string]*layout.Removal) (err error) {
	lost := x.Engine.Lost()
	for _, r := range removals {
		switch age := x.Now().Sub(r.Seen); {
		case lost && age >= renewAfter:
			err = x.remember(ctx, r)
		case !lost && age >= rememberFor:
			err = x.Store.Delete(ctx, layout.RemovalPath(x.Directory, r.SnapshotUID))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
