package removal

import (
	"context"
	"slices"

	"github.com/cairn-backup/cairn/internal/task"
)

// Lacking returns the witnesses that the repository does not hold. Witnesses that a keeper removed do not count: a
// restored etcd brings their Snapshots back.
func (x Repository) Lacking(ctx context.Context, witnesses []task.Witness) ([]task.Witness, error) {
	if len(witnesses) == 0 {
		return nil, nil
	}
	all, err := x.Engine.List(ctx, "")
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool, len(all))
	for _, s := range all {
		there[s.ID] = true
	}
	lacking := slices.DeleteFunc(slices.Clone(witnesses), func(w task.Witness) bool { return there[w.ID] })
	if len(lacking) == 0 {
		return nil, nil
	}
	removals, err := x.Remembered(ctx)
	return slices.DeleteFunc(lacking, func(w task.Witness) bool {
		for _, r := range removals {
			if slices.Contains(r.IDs, w.ID) {
				return true
			}
		}
		return false
	}), err
}
