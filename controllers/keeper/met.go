package keeper

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
)

// metKey returns the index value of a restore that has met damage: the UID of the Repository.
func metKey(o client.Object) []string {
	s := o.(*v1alpha1.RestoreSession)
	if !keeper.MetDamage(s) || s.Status.Resolved == nil || s.Status.Resolved.Repository.UID == "" {
		return nil
	}
	return []string{string(s.Status.Resolved.Repository.UID)}
}

// ofRestore returns a request for the keeper of the Repository in which a restore has met damage.
func (r *Reconciler) ofRestore(ctx context.Context, o client.Object) []reconcile.Request {
	if metKey(o) == nil {
		return nil // It is what an update replaces.
	}
	from := o.(*v1alpha1.RestoreSession).Status.Resolved
	var repository v1alpha1.Repository
	key := client.ObjectKey{Namespace: from.Namespace, Name: from.Repository.Name}
	if err := r.Get(ctx, key, &repository); err != nil || repository.UID != from.Repository.UID {
		return nil // A restore goes on without its Repository.
	}
	return ofRepository(ctx, &repository)
}

// met returns the damage that restores have met in a Repository.
func (r *Reconciler) met(ctx context.Context, repository *v1alpha1.Repository, now time.Time) (keeper.Met, error) {
	var list v1alpha1.RestoreSessionList
	err := r.List(ctx, &list, client.MatchingFields{indexMet: string(repository.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list restores from Repository %s: %w", repository.Name, err)
	}
	return keeper.MetIn(repository, list.Items, now), nil
}

// metAfter returns the Snapshot in which a restore has met damage last, after a time, or nil.
func (r *Reconciler) metAfter(
	ctx context.Context, repository *v1alpha1.Repository, met keeper.Met, t time.Time,
) (*v1alpha1.Snapshot, error) {
	if !met.Since(t) {
		return nil, nil // The restores stay for ever.
	}
	existing, err := r.existing(ctx, repository)
	return met.After(t, existing), err
}

// noteMet writes to a Repository that a restore has met damage there, unless a check has ended since. That makes the
// next check due.
func (r *Reconciler) noteMet(
	ctx context.Context, repository *v1alpha1.Repository, met keeper.Met, now time.Time,
) error {
	in, err := r.metAfter(ctx, repository, met, keeper.LookedAt(repository, now))
	if err != nil || in == nil {
		return err
	}
	return r.writeRepository(ctx, repository, func(repository *v1alpha1.Repository) { markMet(repository, in) })
}

func markMet(repository *v1alpha1.Repository, in *v1alpha1.Snapshot) {
	conditions.MarkFalse(repository, v1alpha1.ConditionChecked, v1alpha1.ReasonRepositoryDamaged,
		"a restore of Snapshot %s has met data that is damaged or missing: a check looks at the Snapshots within a day",
		in.Name)
}

// metDuring returns the Snapshot in which a restore has met damage since a check began, or nil: the check can have
// looked at it before. What was known before its Job was made is no such damage, also if the clocks differ, and neither
// is what ended in the same second: no pod begins that soon.
func (r *Reconciler) metDuring(ctx context.Context, w *keeper.Work) (*v1alpha1.Snapshot, error) {
	if !w.Checks {
		return nil, nil
	}
	now := r.Clock.Now()
	met, err := r.met(ctx, w.Repository, now)
	if err != nil {
		return nil, err
	}
	since := w.Began.Add(time.Second)
	if known := keeper.LookedAt(w.Repository, now); known.After(since) {
		since = known
	}
	return r.metAfter(ctx, w.Repository, met, since)
}
