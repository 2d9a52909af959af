package repository

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
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
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// The indexes of the cache: Repositories by directory and storage, Snapshots by repository, and the running restores.
const (
	directories           = index.Directories("repository.directory")
	indexStorage          = "repository.storage"
	snapshotsByRepository = index.Snapshots("repository.snapshots")
	restores              = index.Restores("repository.restores")
)

const (
	// initialisedAtOnce is the number of Repositories of one BackupStorage that are initialised at a time.
	initialisedAtOnce = 10
	// callsInFlight is the capacity of the channel that wakes Repositories whose turn has come.
	callsInFlight = 1024
)

// SetupWithManager registers the controller, its indexes and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	if err := directories.Register(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	if err := snapshotsByRepository.Register(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.Repository{}, indexStorage,
		func(o client.Object) []string {
			if r := o.(*v1alpha1.Repository); !policy.HoldsVolumeSnapshots(r) {
				return []string{r.Spec.StorageRef.In(r.Namespace).String()}
			}
			return nil
		})
	if err != nil {
		return fmt.Errorf("index Repositories by storage: %w", err)
	}
	called := make(chan event.GenericEvent, callsInFlight)
	r.queue = &initjob.Queue{
		Clock: r.Clock, Limit: initialisedAtOnce, Label: v1alpha1.LabelInitStorage,
		Call: func(owner client.ObjectKey) {
			select {
			case called <- event.GenericEvent{Object: &v1alpha1.Repository{
				ObjectMeta: metav1.ObjectMeta{Namespace: owner.Namespace, Name: owner.Name},
			}}:
			default:
			}
		},
	}
	if err := restores.Register(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("repository").
		For(&v1alpha1.Repository{}).
		Owns(&batchv1.Job{}).
		Watches(&v1alpha1.Repository{}, handler.EnqueueRequestsFromMapFunc(r.ofDirectory),
			builder.WithPredicates(standing)).
		Watches(&v1alpha1.Repository{}, handler.Funcs{DeleteFunc: r.forget}).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(r.next), builder.WithPredicates(initialising)).
		WatchesRawSource(source.Channel(called, &handler.EnqueueRequestForObject{})).
		Watches(&v1alpha1.BackupStorage{}, handler.EnqueueRequestsFromMapFunc(r.ofStorage),
			builder.WithPredicates(usability)).
		Watches(&v1alpha1.Snapshot{}, handler.EnqueueRequestsFromMapFunc(ofSnapshot), builder.WithPredicates(outcome)).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace),
			builder.WithPredicates(namespaceChanged)).
		WithOptions(opts).
		Complete(r)
}

// initialising lets through the Jobs that occupy a turn.
var initialising = predicate.NewPredicateFuncs(func(o client.Object) bool {
	return o.GetLabels()[v1alpha1.LabelInitStorage] != ""
})

// standing lets through what decides whether a Repository holds its directory: that it appears, is initialised,
// disappears, or that its storage allows it the directory or no longer does, which its condition Ready says.
var standing = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.Repository), e.ObjectNew.(*v1alpha1.Repository)
	return before.Status.InitializedSpec != after.Status.InitializedSpec ||
		conditions.GetReason(before, meta.ReadyCondition) != conditions.GetReason(after, meta.ReadyCondition)
}}

// namespaceChanged lets through other labels of a Namespace, and the update with which its deletion begins.
var namespaceChanged = predicate.Or[client.Object](predicate.LabelChangedPredicate{}, predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetDeletionTimestamp().IsZero() && !e.ObjectNew.GetDeletionTimestamp().IsZero()
	},
})

// usability lets through updates that decide whether a storage can be used.
var usability = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.BackupStorage), e.ObjectNew.(*v1alpha1.BackupStorage)
	return before.Generation != after.Generation || before.Status.Phase != after.Status.Phase ||
		before.Status.ObservedGeneration != after.Status.ObservedGeneration
}}

// outcome lets through the changes of a Snapshot that the status of its Repository shows. Progress is not one of them.
var outcome = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.Snapshot), e.ObjectNew.(*v1alpha1.Snapshot)
	return before.Status.Phase != after.Status.Phase || before.Status.Size != after.Status.Size ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		retention.HalfRestored(before) != retention.HalfRestored(after) || // somebody can remove the mark
		!equality.Semantic.DeepEqual(before.Status.SnapshotTime, after.Status.SnapshotTime) ||
		!equality.Semantic.DeepEqual(before.Status.Integrity, after.Status.Integrity)
}}

// ofDirectory returns requests for the Repositories that overlap with one another: the oldest of them can have changed.
func (r *Reconciler) ofDirectory(ctx context.Context, o client.Object) []reconcile.Request {
	others, err := directories.Overlapping(ctx, r.Client, o.(*v1alpha1.Repository))
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Repositories by directory")
	}
	return requestsFor(others)
}

func (r *Reconciler) ofStorage(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.MatchingFields{indexStorage: o.GetNamespace() + "/" + o.GetName()})
}

// ofNamespace returns requests for the Repositories of the Namespace: a usagePolicy can judge it by its labels, and it
// takes them along when it goes.
func (r *Reconciler) ofNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(o.GetName()))
}

// placeInQueue returns the label value under which init Jobs are counted: it stands for the Repository's storage.
func placeInQueue(r *v1alpha1.Repository) string {
	storage := r.Spec.StorageRef.In(r.Namespace)
	return policy.StorageLabelValue(storage.Namespace, storage.Name)
}

// next returns requests for the Repositories whose turn comes when an init Job has changed.
func (r *Reconciler) next(ctx context.Context, o client.Object) []reconcile.Request {
	owners, err := r.queue.Next(ctx, r.Client, o.GetLabels()[v1alpha1.LabelInitStorage])
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Repositories to initialise next")
	}
	requests := make([]reconcile.Request, len(owners))
	for i, owner := range owners {
		requests[i].NamespacedName = owner
	}
	return requests
}

// forget removes a deleted Repository from the queue.
func (r *Reconciler) forget(
	_ context.Context, e event.DeleteEvent, _ workqueue.TypedRateLimitingInterface[reconcile.Request],
) {
	r.queue.Forget(placeInQueue(e.Object.(*v1alpha1.Repository)), client.ObjectKeyFromObject(e.Object))
}

func ofSnapshot(_ context.Context, o client.Object) []reconcile.Request {
	s := o.(*v1alpha1.Snapshot)
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Repository}}}
}

func (r *Reconciler) requests(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.RepositoryList
	if err := r.List(ctx, &list, opts...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Repositories by changed object")
		return nil
	}
	return requestsFor(list.Items)
}

func requestsFor(repositories []v1alpha1.Repository) []reconcile.Request {
	out := make([]reconcile.Request, len(repositories))
	for i := range repositories {
		out[i].NamespacedName = client.ObjectKeyFromObject(&repositories[i])
	}
	return out
}
