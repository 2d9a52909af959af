package keeper

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/task"
)

// existing returns the Repository's Snapshots that are not being deleted. They are those of the cache: nobody may
// change them.
func (r *Reconciler) existing(ctx context.Context, repository *v1alpha1.Repository) ([]*v1alpha1.Snapshot, error) {
	all, err := snapshotsByRepository.Of(ctx, r.Client, repository.Namespace, repository.Name,
		client.UnsafeDisableDeepCopy)
	return slices.DeleteFunc(all, func(s *v1alpha1.Snapshot) bool { return !s.DeletionTimestamp.IsZero() }), err
}

// checked writes the result of a check to the Snapshots, and reports whether the whole repository is intact. nil means
// that this is unknown. unjudged reports that a check has not looked at each Snapshot yet.
func (r *Reconciler) checked(
	ctx context.Context, w *keeper.Work, result task.ComponentResult, at metav1.Time,
) (intact *bool, unjudged bool, err error) {
	verdict, ok := w.Verdict(result)
	if !ok {
		return nil, true, nil
	}
	whole := true
	for _, name := range verdict.Snapshots() {
		ok, err := r.checkedSnapshot(ctx, client.ObjectKey{Namespace: w.Repository.Namespace, Name: name}, verdict, at)
		if err != nil {
			return nil, false, err
		}
		whole = whole && ok
	}
	all, err := r.existing(ctx, w.Repository)
	if err != nil {
		return nil, false, err
	}
	now := r.Clock.Now()
	return verdict.Whole(all, whole, w.Began, now), verdict.Unjudged(w.Repository, all, w.Began, now), nil
}

// checkedSnapshot writes the result to one Snapshot. It reports true unless a component is known to be damaged. A
// Snapshot that was recreated in the meantime is another Snapshot and gets no result.
func (r *Reconciler) checkedSnapshot(
	ctx context.Context, key client.ObjectKey, verdict keeper.Verdict, at metav1.Time,
) (bool, error) {
	var s v1alpha1.Snapshot
	if err := r.APIReader.Get(ctx, key, &s); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Snapshot %s: %w", key.Name, err)
	} else if err != nil || !s.DeletionTimestamp.IsZero() {
		return true, nil
	}
	before := s.DeepCopy()
	verdict.WriteTo(&s, at)
	damaged := v1alpha1.Damaged(s.Status.Integrity)
	if !equality.Semantic.DeepEqual(before.Status, s.Status) {
		s.Status.LastUpdateTime = &at
		if err := r.writer().Status(ctx, before, &s); client.IgnoreNotFound(err) != nil {
			return false, err
		}
		if damaged && !v1alpha1.Damaged(before.Status.Integrity) {
			r.Event(&s, corev1.EventTypeWarning, v1alpha1.ReasonRepositoryDamaged,
				"data that this Snapshot needs is damaged or missing in the repository: bring it back, or make "+
					"another backup")
		}
	}
	return !damaged, nil
}

// markSlow writes to a Snapshot that it is not checked, if the check of one of its components alone took too long, or
// was late.
func (r *Reconciler) markSlow(ctx context.Context, f keeper.Undone, at metav1.Time) error {
	if f.Repository == nil || !f.Slow() {
		return nil
	}
	key := client.ObjectKey{Namespace: f.Repository.Namespace, Name: f.Check[0].Snapshot}
	var s v1alpha1.Snapshot
	if err := r.APIReader.Get(ctx, key, &s); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get Snapshot %s: %w", key.Name, err)
	} else if err != nil || !s.DeletionTimestamp.IsZero() {
		return nil
	}
	before := s.DeepCopy()
	keeper.MarkSlow(&s, f.Check[0], f.Reason, f.Message, at)
	return client.IgnoreNotFound(r.writer().Status(ctx, before, &s))
}
