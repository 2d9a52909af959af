package restore

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/workload"
)

// ChooseComponents returns the names of the components of a Snapshot to restore: those in asked, or all if asked is
// empty. It refuses components that do not exist or have no data.
func ChooseComponents(s *v1alpha1.Snapshot, asked []string) ([]string, *v1alpha1.ResolvedError) {
	have := slices.Sorted(maps.Keys(s.Status.Components))
	if len(have) == 0 {
		return nil, workload.Fail(v1alpha1.ReasonComponentNotFound, "Snapshot %s has no components", s.Name)
	}
	chosen := have
	if len(asked) > 0 {
		chosen = slices.Sorted(slices.Values(asked))
	}
	for _, name := range chosen {
		c, there := s.Status.Components[name]
		switch {
		case !there:
			return nil, workload.Fail(v1alpha1.ReasonComponentNotFound,
				"Snapshot %s has no component %q; it has: %s", s.Name,
				name, strings.Join(have, ", "))
		case c.Phase != v1alpha1.SnapshotSucceeded || c.ID == "":
			return nil, workload.Fail(v1alpha1.ReasonComponentNotFound, "component %s of Snapshot %s has no data",
				name, s.Name)
		}
	}
	return chosen, nil
}

// Before limits the time of a Snapshot. The zero value allows any time.
type Before struct {
	// At is the latest time.
	At time.Time
	// Exclusive excludes At itself.
	Exclusive bool
}

// Allows reports whether a Snapshot of time t is early enough.
func (m Before) Allows(t time.Time) bool {
	return m.At.IsZero() || t.Before(m.At) || !m.Exclusive && t.Equal(m.At)
}

// Latest returns the newest successful Snapshot of a Repository that before allows and that is not known to be damaged,
// or nil, as now counts their times. damaged is the newest damaged one if that is newer. Of two with the same time, the
// one with the greater ID counts as newer. One whose time is still to come is older than all others.
func Latest(
	snapshots []v1alpha1.Snapshot, repository string, before Before, now time.Time,
) (best, damaged *v1alpha1.Snapshot) {
	var bestAt, damagedAt time.Time
	for i := range snapshots {
		s := &snapshots[i]
		if s.Spec.Repository != repository || s.Status.Phase != v1alpha1.SnapshotSucceeded ||
			s.DeletionTimestamp != nil ||
			s.Status.SnapshotTime == nil || v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		at := s.MadeBy(now).Time
		switch whole := DamageOf(s, nil) == ""; {
		case !before.Allows(at):
		case whole && newer(s, best, at, bestAt, now):
			best, bestAt = s, at
		case !whole && newer(s, damaged, at, damagedAt, now):
			damaged, damagedAt = s, at
		}
	}
	if damaged != nil && best != nil && newer(best, damaged, bestAt, damagedAt, now) {
		damaged = nil
	}
	return best, damaged
}

// newer reports whether s, made at a time, is newer than another Snapshot, or there is no other.
func newer(s, than *v1alpha1.Snapshot, at, thanAt, now time.Time) bool {
	return than == nil || cmp.Or(run.CompareTimes(at, thanAt, now),
		cmp.Compare(s.Spec.SnapshotID, than.Spec.SnapshotID)) > 0
}
