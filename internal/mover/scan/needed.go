package scan

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/task"
)

// Needed returns the names of the Snapshots in a directory, by the IDs of their data. It goes by the component results,
// and fails if one can't be understood: nobody knows what that one needs.
func Needed(ctx context.Context, store backend.Store, directory string) (map[string]string, error) {
	paths, err := store.List(ctx, layout.SnapshotsPath(directory))
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	out := map[string]string{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for _, path := range paths {
		name, _, ok := layout.ParseSnapshotComponentPath(directory, path)
		if !ok {
			continue
		}
		group.Go(func() error {
			text, err := store.Get(ctx, path)
			if errors.Is(err, backend.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			c, err := layout.ParseComponentResult(text)
			if err != nil {
				return failure.New(v1alpha1.ReasonRepositoryDamaged,
					fmt.Sprintf("%s exists but can't be used: %v", path, err))
			}
			mu.Lock()
			defer mu.Unlock()
			if c.Phase == string(task.OutcomeSucceeded) && c.ID != "" {
				out[c.ID] = name
			}
			return nil
		})
	}
	return out, group.Wait()
}
