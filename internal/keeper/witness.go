package keeper

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
)

// maxWitnesses is the number of witnesses of a Repository. Those of all Repositories of a Job must fit into its task,
// beside the removals and checks.
const maxWitnesses = 16

// Witness adds to work that removes or maintains what must be in the repository meanwhile, of these Snapshots: a
// storage can have gone back in time, and then the Snapshots for which retention lets others go are lost. While nothing
// is removed that retention lets go, and nothing maintained, there are none: the check that comes first finds out what
// is missing.
func (w *Work) Witness(snapshots []*v1alpha1.Snapshot, now time.Time) {
	if _, held := retention.Held(w.Repository, now); held || w.Wipe || len(w.Snapshots) == 0 && w.Maintain == "" {
		return
	}
	w.Witnesses = witnesses(w.Repository, snapshots, now)
}

// witnesses returns data of kept Snapshots that are not known to be damaged, the newest first. A storage that goes back
// in time loses all from one time on, up to those that were made since. So where there are too many, half of the
// witnesses are the newest ones, and the others lie evenly among the rest.
func witnesses(r *v1alpha1.Repository, snapshots []*v1alpha1.Snapshot, now time.Time) []task.Witness {
	var all []*v1alpha1.Snapshot
	made := map[*v1alpha1.Snapshot]time.Time{}
	for _, s := range snapshots {
		if retention.Undamaged(s) && s.DeletionTimestamp.IsZero() && retention.Owns(r, s) && lastID(s) != "" {
			all, made[s] = append(all, s), madeBy(s, now)
		}
	}
	slices.SortFunc(all, func(a, b *v1alpha1.Snapshot) int {
		return cmp.Or(made[b].Compare(made[a]), cmp.Compare(b.Name, a.Name))
	})
	var out []task.Witness
	for i := range min(len(all), maxWitnesses) {
		const newest = maxWitnesses / 2
		if rest := len(all) - newest; len(all) > maxWitnesses && i >= newest {
			i = newest + (i-newest+1)*rest/newest - 1
		}
		out = append(out, task.Witness{Snapshot: all[i].Name, ID: lastID(all[i])})
	}
	return out
}

// lastID returns the ID of the component of a Snapshot whose data was complete last.
func lastID(s *v1alpha1.Snapshot) (id string) {
	var last time.Time
	for _, name := range slices.Sorted(maps.Keys(s.Status.Components)) {
		c := s.Status.Components[name]
		at := time.Time{}
		if c.CompletionTime != nil {
			at = c.CompletionTime.Time
		}
		if c.ID != "" && (id == "" || at.After(last)) {
			id, last = c.ID, at
		}
	}
	return id
}
