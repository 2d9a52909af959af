package restorebatch

import (
	"cmp"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// dated is a Snapshot and when it was made. Whoever orders Snapshots asks that once for each: the answer can rest on a
// thousand components.
type dated struct {
	*v1alpha1.Snapshot
	// at is when it was made, as now counts that.
	at, now time.Time
}

// preferred reports whether s is taken rather than than, where both are of the same target and restore point. One that
// this cluster made wins over one that a scan made, whose labels come from the backend. Then the first Repository by
// name wins, then the newer Snapshot.
func preferred(s, than dated) bool {
	if rebuilt := s.Rebuilt(); rebuilt != than.Rebuilt() {
		return !rebuilt
	}
	if s.Spec.Repository != than.Spec.Repository {
		return s.Spec.Repository < than.Spec.Repository
	}
	return newerSnapshot(s, than) > 0
}

func newerSnapshot(a, b dated) int {
	return cmp.Or(run.CompareTimes(a.at, b.at, a.now), cmp.Compare(a.Spec.SnapshotID, b.Spec.SnapshotID))
}
