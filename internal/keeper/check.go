package keeper

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// maxChecked is the number of components that are checked in a Repository at a time.
const maxChecked = 400

// ToCheck returns the components of successful Snapshots to check, whole Snapshots at a time, as inOrder says.
func ToCheck(snapshots []*v1alpha1.Snapshot, now time.Time) []task.Checked {
	snapshots = slices.DeleteFunc(slices.Clone(snapshots), func(s *v1alpha1.Snapshot) bool {
		return s.Status.Phase != v1alpha1.SnapshotSucceeded
	})
	var out []task.Checked
	for _, s := range inOrder(snapshots, now) {
		if n := len(s.Status.Components); n > maxChecked {
			continue
		} else if len(out)+n > maxChecked {
			break
		}
		for _, name := range slices.Sorted(maps.Keys(s.Status.Components)) {
			if id := s.Status.Components[name].ID; id != "" {
				out = append(out, task.Checked{Snapshot: s.Name, UID: s.UID, Component: name, ID: id})
			}
		}
	}
	return out
}

// atMost returns the first components, whole Snapshots at a time: at most limit, but at least one Snapshot. 0 is no
// limit.
func atMost(limit int, all []task.Checked) []task.Checked {
	if limit == 0 || len(all) <= limit {
		return all
	}
	end := 0
	for i := 1; i < len(all) && (i <= limit || end == 0); i++ {
		if all[i].Snapshot != all[i-1].Snapshot {
			end = i
		}
	}
	if end == 0 {
		return all
	}
	return all[:end]
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
// is another Snapshot and gets no result.
func (v Verdict) WriteTo(s *v1alpha1.Snapshot, at metav1.Time) {
	all := len(s.Status.Components)
	for name, c := range v[s.Name] {
		component, ok := s.Status.Components[name]
		if !ok || s.UID != c.UID || component.ID != c.ID {
			continue
		}
		component.Integrity = &c.intact
		s.Status.Components[name] = component
		all--
	}
	if all == 0 {
		s.Status.LastCheckTime = &at
	}
	s.Status.Integrity = integrityOf(s.Status.Components)
}

// Unjudged reports whether a Snapshot that was made before the check began is still not known to be intact or damaged,
// although a check can tell. What the verdict says of a Snapshot may not be written to it yet.
func (v Verdict) Unjudged(all []*v1alpha1.Snapshot, began metav1.Time, now time.Time) bool {
	return slices.ContainsFunc(all, func(s *v1alpha1.Snapshot) bool {
		n, at := len(s.Status.Components), s.MadeBy(now)
		return s.Status.Phase == v1alpha1.SnapshotSucceeded && s.Status.Integrity == nil && 0 < n && n <= maxChecked &&
			at != nil && at.Time.Before(began.Time) && len(v[s.Name]) < n && !v.damaged(s.Name)
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
		if c.Integrity != nil && !*c.Integrity {
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
// if one that existed before the check was never checked. all are the Snapshots of the Repository as they are now, and
// checkedWhole reports whether those of the verdict are intact.
func (v Verdict) Whole(all []*v1alpha1.Snapshot, checkedWhole bool, began metav1.Time, now time.Time) *bool {
	if !checkedWhole {
		return new(false)
	}
	unknown := false
	for _, s := range all {
		if _, checked := v[s.Name]; checked || s.Status.Phase != v1alpha1.SnapshotSucceeded {
			continue
		}
		switch at := s.MadeBy(now); {
		case s.Status.Integrity != nil && !*s.Status.Integrity:
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
