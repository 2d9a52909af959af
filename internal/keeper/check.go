package keeper

import (
	"maps"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
)

// maxChecked is the number of components that are checked in a Repository at a time.
const maxChecked = 400

// ToCheck returns the components of successful Snapshots to check, as inOrder says, but first those in which a restore
// has met damage since their last check: whole Snapshots at a time, but as many components as there is room for of one
// that has more than fit into a check. Of a Snapshot whose check takes too long it returns one component, if there is
// nothing else to check, or at times.
func ToCheck(snapshots []*v1alpha1.Snapshot, met Met, now time.Time) []task.Checked {
	snapshots = slices.DeleteFunc(slices.Clone(snapshots), func(s *v1alpha1.Snapshot) bool {
		return s.Status.Phase != v1alpha1.SnapshotSucceeded
	})
	slow, others := splitSlow(snapshots, now)
	others = inOrder(others, now)
	waits := met.first(others, now)
	if due := dueSlow(slow, now); len(due) > 0 && (!waits || starved(slow, now)) {
		return due
	}
	if len(others) == 0 && len(slow) > 0 {
		return slow[0].next(now)
	}
	var out []task.Checked
	for _, s := range others {
		components, left := met.componentsOf(s, now), maxChecked-len(out)
		if len(components) > left {
			if len(components) > maxChecked {
				out = append(out, components[:left]...)
			}
			break
		}
		out = append(out, components...)
	}
	return out
}

// atMost returns the first components, at most limit: whole Snapshots, or a part of the first one. 0 is no limit.
func atMost(limit int, all []task.Checked) []task.Checked {
	if limit == 0 || len(all) <= limit {
		return all
	}
	for end := limit; end > 0; end-- {
		if all[end].Snapshot != all[end-1].Snapshot {
			return all[:end]
		}
	}
	return all[:limit]
}

// Verdict is the result of a check: whether each checked component is intact, by the names of Snapshot and component.
type Verdict map[string]map[string]checkedComponent

type checkedComponent struct {
	task.Checked
	intact bool
}

// Verdict returns what the work has checked. ok is false if it checked nothing: it was to check nothing, or it verified
// none of the components.
func (w *Work) Verdict(result task.ComponentResult) (v Verdict, ok bool) {
	if !w.Checks || len(w.Check) > 0 && result.Verified == 0 {
		return nil, false
	}
	v = Verdict{}
	for i, c := range w.Check[:min(len(w.Check), int(result.Verified))] {
		if v[c.Snapshot] == nil {
			v[c.Snapshot] = map[string]checkedComponent{}
		}
		v[c.Snapshot][c.Component] = checkedComponent{c, !slices.Contains(result.Damaged, i)}
	}
	return v, true
}

// Snapshots returns the names of the checked Snapshots.
func (v Verdict) Snapshots() []string { return slices.Sorted(maps.Keys(v)) }

// WriteTo writes the result of the check to the status of a Snapshot of that name. A Snapshot that was recreated since
// is another Snapshot and gets no result. One that is checked in parts counts as checked once no part is missing.
func (v Verdict) WriteTo(s *v1alpha1.Snapshot, at metav1.Time) {
	wrote := false
	for name, c := range v[s.Name] {
		component, ok := s.Status.Components[name]
		if !ok || s.UID != c.UID || component.ID != c.ID {
			continue
		}
		component.Integrity, wrote = &c.intact, true
		s.Status.Components[name] = component
	}
	slow := apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionChecked)
	switch {
	case wrote && !lacks(s, nil):
		apimeta.RemoveStatusCondition(&s.Status.Conditions, v1alpha1.ConditionChecked)
		s.Status.LastCheckTime = &at
	case wrote && slow != nil:
		slow.LastTransitionTime = at // The rest of it has its turn like any other try.
	}
	s.Status.Integrity = integrityOf(s.Status.Components)
}

// Unjudged reports whether a Snapshot that was made before its Repository moved, and before the check began, is still
// not known to be intact or damaged, although one check can tell. What the verdict says of a Snapshot may not be
// written to it yet.
func (v Verdict) Unjudged(
	r *v1alpha1.Repository, all []*v1alpha1.Snapshot, began metav1.Time, now time.Time,
) bool {
	return slices.ContainsFunc(all, func(s *v1alpha1.Snapshot) bool {
		at := s.MadeBy(now)
		return s.Status.Phase == v1alpha1.SnapshotSucceeded && s.Status.Integrity == nil &&
			len(s.Status.Components) <= maxChecked && lacks(s, v[s.Name]) && at != nil &&
			at.Time.Before(began.Time) && !v.damaged(s.Name) && retention.MadeBeforeMove(r, s)
	})
}

// damaged reports whether a component of a Snapshot is damaged.
func (v Verdict) damaged(snapshot string) bool {
	for _, c := range v[snapshot] {
		if !c.intact {
			return true
		}
	}
	return false
}

// integrityOf returns false if a component is damaged, true if all components were found intact, and otherwise nil.
func integrityOf(components map[string]v1alpha1.Component) *bool {
	whole := len(components) > 0
	for _, c := range components {
		if v1alpha1.Damaged(c.Integrity) {
			return new(false)
		}
		whole = whole && c.Integrity != nil
	}
	if !whole {
		return nil
	}
	return new(true)
}

// Whole reports whether a repository is intact after a check that began at a time: false if a Snapshot is damaged, nil
// if one that existed before the check was never checked, or only in part. all are the Snapshots of the Repository as
// they are now, and checkedWhole reports whether those of the verdict are intact.
func (v Verdict) Whole(all []*v1alpha1.Snapshot, checkedWhole bool, began metav1.Time, now time.Time) *bool {
	if !checkedWhole {
		return new(false)
	}
	unknown := false
	for _, s := range all {
		verdict, checked := v[s.Name]
		if s.Status.Phase != v1alpha1.SnapshotSucceeded || checked && !lacks(s, verdict) {
			continue
		}
		switch at := s.MadeBy(now); {
		case v1alpha1.Damaged(s.Status.Integrity):
			return new(false)
		case s.Status.Integrity == nil && at != nil && at.Time.Before(began.Time):
			unknown = true
		}
	}
	if unknown {
		return nil
	}
	return new(true)
}
