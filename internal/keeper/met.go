package keeper

import (
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// Met is when restores met damage last, by the ID of the data that they could not read.
type Met map[string]time.Time

// MetDamage reports whether a restore has ended, and could not read data because the repository lacks it.
func MetDamage(s *v1alpha1.RestoreSession) bool {
	if v1alpha1.HasRecordAnnotation(s.Annotations) || !s.Ended() || s.Status.CompletionTime == nil {
		return false
	}
	for _, c := range s.Status.Components {
		if lacksData(&c) {
			return true
		}
	}
	return false
}

// lacksData reports whether a component failed because the repository lacks its data.
func lacksData(c *v1alpha1.RestoredComponent) bool {
	switch c.Reason {
	case v1alpha1.ReasonRepositoryDamaged, v1alpha1.ReasonRepositoryNotFound, v1alpha1.ReasonSnapshotNotFound:
		return c.ID != ""
	}
	return false
}

// MetIn returns the damage that restores have met in a Repository. A restore in another namespace counts as long as it
// may restore from there. An end that is still to come is none: a clock was ahead.
func MetIn(r *v1alpha1.Repository, restores []v1alpha1.RestoreSession, now time.Time) Met {
	out := Met{}
	for i := range restores {
		s := &restores[i]
		from := s.Status.Resolved
		switch {
		case !MetDamage(s), isAhead(s.Status.CompletionTime.Time, now), from == nil, from.Repository.UID != r.UID:
			continue
		case s.Namespace != r.Namespace && !policy.AllowsRestoreTo(r, s.Namespace):
			continue
		}
		for _, c := range s.Status.Components {
			if lacksData(&c) {
				out[c.ID] = v1alpha1.Later(out[c.ID], s.Status.CompletionTime.Time)
			}
		}
	}
	return out
}

// Since reports whether damage was met after a time.
func (m Met) Since(t time.Time) bool {
	for _, at := range m {
		if at.After(t) {
			return true
		}
	}
	return false
}

// After returns the Snapshot in which damage was met last, after a time, or nil. What a check has found damaged does
// not count: it is known.
func (m Met) After(t time.Time, snapshots []*v1alpha1.Snapshot) (out *v1alpha1.Snapshot) {
	for _, s := range snapshots {
		if at := m.in(s); at.After(t) {
			out, t = s, at
		}
	}
	return out
}

// in returns when damage was met last in a successful Snapshot; zero if it was not, or is known.
func (m Met) in(s *v1alpha1.Snapshot) (at time.Time) {
	if len(m) == 0 || s.Status.Phase != v1alpha1.SnapshotSucceeded {
		return at
	}
	for _, c := range s.Status.Components {
		if !v1alpha1.Damaged(c.Integrity) {
			at = v1alpha1.Later(at, m[c.ID])
		}
	}
	return at
}

// LookedAt returns when a check has looked at a Repository last, or could not; zero if never.
func LookedAt(r *v1alpha1.Repository, now time.Time) (at time.Time) {
	if m := r.Status.LastMaintenance; m != nil && m.Full != nil && !isAhead(m.Full.Time, now) {
		at = m.Full.Time
	}
	c := apimeta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionChecked)
	if c != nil && !isAhead(c.LastTransitionTime.Time, now) {
		at = v1alpha1.Later(at, c.LastTransitionTime.Time)
	}
	return at
}

// waits reports whether damage was met in a Snapshot, and no check has looked at it since.
func (m Met) waits(s *v1alpha1.Snapshot, now time.Time) bool { return m.in(s).After(checkedAt(s, now)) }

// first brings the Snapshots that wait to the front, and reports whether there is one.
func (m Met) first(snapshots []*v1alpha1.Snapshot, now time.Time) bool {
	slices.SortStableFunc(snapshots, func(a, b *v1alpha1.Snapshot) int {
		return trueFirst(m.waits(a, now), m.waits(b, now))
	})
	return len(snapshots) > 0 && m.waits(snapshots[0], now)
}

// componentsOf does what the function componentsOf does, and brings the components that restores could not read to the
// front.
func (m Met) componentsOf(s *v1alpha1.Snapshot, now time.Time) []task.Checked {
	out := componentsOf(s, now)
	if m.waits(s, now) {
		slices.SortStableFunc(out, func(a, b task.Checked) int {
			return trueFirst(!m[a.ID].IsZero(), !m[b.ID].IsZero())
		})
	}
	return out
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
