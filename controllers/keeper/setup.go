package keeper

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/runtime/conditions"
	batchv1 "k8s.io/api/batch/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/policy"
)

// The indexes of the cache.
const (
	indexStorage          = "keeper.storage"
	indexWipe             = "keeper.wipe"
	indexMet              = "keeper.met"
	snapshotsByRepository = index.Snapshots("keeper.snapshots")
	restores              = index.Restores("keeper.restores")
)

// SetupWithManager registers the controller, its indexes and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	ctx, indexer := context.Background(), mgr.GetFieldIndexer()
	if err := indexer.IndexField(ctx, &v1alpha1.Repository{}, indexStorage, func(o client.Object) []string {
		if r := o.(*v1alpha1.Repository); !policy.HoldsVolumeSnapshots(r) {
			return []string{placeOf(r).storage.String()}
		}
		return nil // VolumeSnapshots have no backend.
	}); err != nil {
		return fmt.Errorf("index Repositories by storage: %w", err)
	}
	if err := indexer.IndexField(ctx, &v1alpha1.Snapshot{}, indexWipe, wipeKey); err != nil {
		return fmt.Errorf("index Snapshots to remove: %w", err)
	}
	if err := indexer.IndexField(ctx, &v1alpha1.RestoreSession{}, indexMet, metKey); err != nil {
		return fmt.Errorf("index RestoreSessions that have met damage: %w", err)
	}
	if err := snapshotsByRepository.Register(ctx, indexer); err != nil {
		return err
	}
	if err := restores.Register(ctx, indexer); err != nil {
		return err
	}
	enqueue := handler.EnqueueRequestsFromMapFunc
	keepers := builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
		return o.GetLabels()[v1alpha1.LabelKeeper] != ""
	}))
	return ctrl.NewControllerManagedBy(mgr).
		Named("keeper").
		Watches(&v1alpha1.Repository{}, enqueue(ofRepository), builder.WithPredicates(relevant)).
		Watches(&v1alpha1.Snapshot{}, enqueue(r.ofSnapshot),
			builder.WithPredicates(
				predicate.NewPredicateFuncs(func(o client.Object) bool { return wipeKey(o) != nil }))).
		Watches(&v1alpha1.RestoreSession{}, enqueue(r.ofRestore),
			builder.WithPredicates(
				predicate.NewPredicateFuncs(func(o client.Object) bool { return metKey(o) != nil }))).
		Watches(&batchv1.Job{}, enqueue(r.ofJob), keepers).
		WithOptions(opts).
		Complete(r)
}

// relevant lets through changes that can make work in a Repository due.
var relevant = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.Repository), e.ObjectNew.(*v1alpha1.Repository)
	return before.Generation != after.Generation || before.Status.InitializedSpec != after.Status.InitializedSpec ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		keeper.StateOf(before) != keeper.StateOf(after) || keeper.ScanOf(before) != keeper.ScanOf(after) ||
		conditions.GetReason(before, v1alpha1.ConditionWiped) != conditions.GetReason(after, v1alpha1.ConditionWiped)
}}

// placeOf returns the place of a Repository's keeper.
func placeOf(r *v1alpha1.Repository) place {
	return place{namespace: r.Namespace, storage: r.Spec.StorageRef.In(r.Namespace)}
}

// ofRepository returns a request for the keeper of a Repository. A Repository of VolumeSnapshots has none.
func ofRepository(_ context.Context, o client.Object) []reconcile.Request {
	if policy.HoldsVolumeSnapshots(o.(*v1alpha1.Repository)) {
		return nil
	}
	return []reconcile.Request{placeOf(o.(*v1alpha1.Repository)).request()}
}

func (r *Reconciler) ofSnapshot(ctx context.Context, o client.Object) []reconcile.Request {
	var repository v1alpha1.Repository
	key := client.ObjectKey{Namespace: o.GetNamespace(), Name: o.(*v1alpha1.Snapshot).Spec.Repository}
	if err := r.Get(ctx, key, &repository); err != nil {
		return nil // A Snapshot without Repository has no keeper.
	}
	return ofRepository(ctx, &repository)
}

// ofJob returns a request for the keeper of a Job. If no Repository of its place exists any more, the request names the
// Job: a manager that starts learns of it in no other way.
func (r *Reconciler) ofJob(ctx context.Context, o client.Object) []reconcile.Request {
	p, used, err := r.placeOfJob(ctx, o.GetNamespace(), o.GetLabels()[v1alpha1.LabelKeeper])
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Repositories of keeper Job")
	}
	if used {
		return []reconcile.Request{p.request()}
	}
	if o.GetName() != o.GetLabels()[v1alpha1.LabelKeeper] {
		return nil // no keeper has made it
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(o)}}
}

// placeOfJob returns the place of a keeper's Job, whose name is also its label. It looks for a Repository of that place
// in the Job's namespace, and reports whether there is one.
func (r *Reconciler) placeOfJob(ctx context.Context, namespace, job string) (place, bool, error) {
	var list v1alpha1.RepositoryList
	if err := r.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return place{}, false, fmt.Errorf("list Repositories of Namespace %s: %w", namespace, err)
	}
	for i := range list.Items {
		if p := placeOf(&list.Items[i]); p.name() == job {
			return p, true, nil
		}
	}
	return place{}, false, nil
}
