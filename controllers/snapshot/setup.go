package snapshot

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
)

// The indexes of the cache: the Snapshots of a Repository that are being deleted, and the running restores.
const (
	indexRepository = "snapshot.repository"
	anyRepository   = "*" // in the place of a name
	restores        = index.Restores("snapshot.restores")
)

// SetupWithManager registers the controller, its index and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.Snapshot{}, indexRepository, repositoryOf)
	if err != nil {
		return fmt.Errorf("index Snapshots by repository: %w", err)
	}
	if err := restores.Register(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	r.called = make(chan event.GenericEvent)
	if r.SweepInterval > 0 {
		if err := sweep.AddSweep(mgr, "find leftover VolumeSnapshots", r.SweepInterval, r.sweep); err != nil {
			return err
		}
	}
	deleting := predicate.NewPredicateFuncs(func(o client.Object) bool { return !o.GetDeletionTimestamp().IsZero() })
	return ctrl.NewControllerManagedBy(mgr).
		Named("snapshot").
		For(&v1alpha1.Snapshot{}, builder.WithPredicates(predicate.Or[client.Object](deleting, failed))).
		WatchesRawSource(source.Channel(r.called, &handler.EnqueueRequestForObject{})).
		Watches(&v1alpha1.Repository{}, handler.EnqueueRequestsFromMapFunc(r.ofRepositories),
			builder.WithPredicates(leaving)).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace),
			builder.WithPredicates(deleting)).
		WithOptions(opts).
		Complete(r)
}

// repositoryOf returns the values of the index for a Snapshot.
func repositoryOf(o client.Object) []string {
	if o.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return []string{o.(*v1alpha1.Snapshot).Spec.Repository, anyRepository}
}

// failed lets through that a Snapshot fails. The sweep finds what it missed.
var failed = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*v1alpha1.Snapshot), e.ObjectNew.(*v1alpha1.Snapshot)
		return before.Status.Phase != after.Status.Phase && after.Status.Phase == v1alpha1.SnapshotFailed
	},
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// leaving lets through a Repository that is being deleted or gone.
var leaving = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool { return !e.ObjectNew.GetDeletionTimestamp().IsZero() },
}

func (r *Reconciler) ofRepositories(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(o.GetNamespace()), client.MatchingFields{indexRepository: o.GetName()})
}

func (r *Reconciler) ofNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(o.GetName()))
}

func (r *Reconciler) requests(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.SnapshotList
	if err := r.List(ctx, &list, opts...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Snapshots by changed object")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if !list.Items[i].DeletionTimestamp.IsZero() {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}
