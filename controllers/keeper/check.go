package keeper

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// toCheck returns the components of the Repository's successful Snapshots to check. Snapshots that were never checked
// come first, then those whose last check is the oldest.
func (r *Reconciler) toCheck(ctx context.Context, repository *v1alpha1.Repository) ([]task.Checked, error) {
	snapshots, err := r.existing(ctx, repository)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(snapshots, func(a, b v1alpha1.Snapshot) int {
		return cmp.Or(checkedAt(&a).Compare(checkedAt(&b).Time), cmp.Compare(a.Name, b.Name))
	})
	var out []task.Checked
	for i := range snapshots {
		s := &snapshots[i]
		if n := len(s.Status.Components); s.Status.Phase != v1alpha1.SnapshotSucceeded || n > maxChecked {
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
	return out, nil
}

// existing returns the Repository's Snapshots that are not being deleted.
func (r *Reconciler) existing(ctx context.Context, repository *v1alpha1.Repository) ([]v1alpha1.Snapshot, error) {
	var list v1alpha1.SnapshotList
	if err := r.List(ctx, &list, client.InNamespace(repository.Namespace),
		client.MatchingFields{indexSnapshots: repository.Name}); err != nil {
		return nil, fmt.Errorf("list Snapshots of %s: %w", repository.Name, err)
	}
	return slices.DeleteFunc(list.Items, func(s v1alpha1.Snapshot) bool {
		return !s.DeletionTimestamp.IsZero() || v1alpha1.HasRecordAnnotation(s.Annotations)
	}), nil
}

func checkedAt(s *v1alpha1.Snapshot) metav1.Time {
	if s.Status.LastCheckTime == nil {
		return metav1.Time{}
	}
	return *s.Status.LastCheckTime
}

// checked writes the result of a check to the Snapshots, and reports whether the whole repository is intact. nil means
// that this is unknown.
func (r *Reconciler) checked(ctx context.Context, w *work, result task.ComponentResult, at metav1.Time) (*bool, error) {
	if w.maintain != task.MaintainFull || len(w.check) > 0 && result.Verified == 0 {
		return nil, nil
	}
	found := map[string]map[string]task.Checked{} // by Snapshot and component
	intact := map[task.Checked]bool{}
	for i, c := range w.check[:min(len(w.check), int(result.Verified))] {
		if found[c.Snapshot] == nil {
			found[c.Snapshot] = map[string]task.Checked{}
		}
		found[c.Snapshot][c.Component] = c
		intact[c] = !slices.Contains(result.Damaged, i)
	}
	whole := true
	for _, name := range slices.Sorted(maps.Keys(found)) {
		ok, err := r.checkedSnapshot(ctx, client.ObjectKey{Namespace: w.repository.Namespace, Name: name}, found[name],
			intact, at)
		if err != nil {
			return nil, err
		}
		whole = whole && ok
	}
	known, err := r.others(ctx, w, found)
	switch {
	case err != nil:
		return nil, err
	case !whole || known != nil && !*known:
		return new(false), nil
	}
	return known, nil
}

// others reports whether the Snapshots that were not checked this time are intact: false if one is damaged, nil if one
// that existed before the check was never checked.
func (r *Reconciler) others(ctx context.Context, w *work, found map[string]map[string]task.Checked) (*bool, error) {
	all, err := r.existing(ctx, w.repository)
	if err != nil {
		return nil, err
	}
	unknown := false
	for i := range all {
		s := &all[i]
		if _, checked := found[s.Name]; checked || s.Status.Phase != v1alpha1.SnapshotSucceeded {
			continue
		}
		switch at := s.Status.SnapshotTime; {
		case s.Status.Integrity != nil && !*s.Status.Integrity:
			return new(false), nil
		case s.Status.Integrity == nil && at != nil && at.Time.Before(w.began.Time):
			unknown = true
		}
	}
	if unknown {
		return nil, nil
	}
	return new(true), nil
}

// checkedSnapshot writes the result to one Snapshot. It reports true unless a component is known to be damaged. A
// Snapshot that was recreated in the meantime is another Snapshot and gets no result.
func (r *Reconciler) checkedSnapshot(
	ctx context.Context, key client.ObjectKey, found map[string]task.Checked, intact map[task.Checked]bool, at metav1.Time,
) (bool, error) {
	var s v1alpha1.Snapshot
	if err := r.APIReader.Get(ctx, key, &s); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Snapshot %s: %w", key.Name, err)
	} else if err != nil || !s.DeletionTimestamp.IsZero() {
		return true, nil
	}
	before := s.DeepCopy()
	all := len(s.Status.Components)
	for name, c := range found {
		component, ok := s.Status.Components[name]
		if !ok || s.UID != c.UID || component.ID != c.ID {
			continue
		}
		component.Integrity = new(intact[c])
		s.Status.Components[name] = component
		all--
	}
	if all == 0 {
		s.Status.LastCheckTime = &at
	}
	s.Status.Integrity = integrityOf(s.Status.Components)
	if whole := s.Status.Integrity; !equality.Semantic.DeepEqual(before.Status, s.Status) {
		s.Status.LastUpdateTime = &at
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := r.Status().Patch(ctx, &s, patch, client.FieldOwner(r.FieldManager)); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("write status of Snapshot %s: %w", s.Name, err)
		}
		if was := before.Status.Integrity; whole != nil && !*whole && (was == nil || *was) {
			r.Event(&s, corev1.EventTypeWarning, v1alpha1.ReasonRepositoryDamaged,
				"data that this Snapshot needs is damaged or missing in the repository: bring it back, or make another backup")
		}
	}
	return s.Status.Integrity == nil || *s.Status.Integrity, nil
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
