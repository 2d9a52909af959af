package scan

import (
	"context"
	"fmt"
	"sync"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/task"
)

// Needed returns the names of the Snapshots in a directory, by the IDs of their data. It goes by the component results,
// and fails if one can't be understood: nobody knows what that one needs.
func Needed(ctx context.Context, store backend.Store, directory string) (map[string]string, error) {
	var mu sync.Mutex
	out := map[string]string{}
	err := eachResult(ctx, store, directory, func(r result) error {
		c, err := layout.ParseComponentResult(r.text)
		if err != nil {
			return failure.New(v1alpha1.ReasonRepositoryDamaged,
				fmt.Sprintf("%s exists but can't be used: %v", r.path, err))
		}
		mu.Lock()
		defer mu.Unlock()
		if c.Phase == string(task.OutcomeSucceeded) && c.ID != "" {
			out[c.ID] = r.snapshot
		}
		return nil
	})
	return out, err
}
