package backupstorage

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// indexPlace finds the storages that keep their data in one place.
const indexPlace = "backupstorage.place"

// The indexes of a storage's users, by the storage's namespace and name.
const (
	indexRepositories   = "backupstorage.repositories"
	indexConfigurations = "backupstorage.configurations"
)

// indexGoing finds the storages that are being deleted, by the value going.
const (
	indexGoing = "backupstorage.going"
	going      = "going"
)

// wakeDelay is the delay after which a storage that goes looks at policy that changed.
const wakeDelay = time.Second

// SetupWithManager registers the controller, its index and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.BackupStorage{}, indexPlace,
		func(o client.Object) []string {
			return []string{placeOf(o.(*v1alpha1.BackupStorage))}
		})
	if err != nil {
		return fmt.Errorf("index BackupStorages by place: %w", err)
	}
	for _, index := range []struct {
		object client.Object
		field  string
		values func(client.Object) []string
	}{
		{&v1alpha1.Repository{}, indexRepositories, func(o client.Object) []string {
			if r := o.(*v1alpha1.Repository); !policy.HoldsVolumeSnapshots(r) {
				return []string{r.Spec.StorageRef.In(r.Namespace).String()}
			}
			return nil
		}},
		{&v1alpha1.BackupConfiguration{}, indexConfigurations, storagesOf},
		{&v1alpha1.BackupStorage{}, indexGoing, goes},
	} {
		if err := mgr.GetFieldIndexer().IndexField(context.Background(), index.object, index.field,
			index.values); err != nil {
			return fmt.Errorf("index by storage: %w", err)
		}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("backupstorage").
		For(&v1alpha1.BackupStorage{}).
		Owns(&batchv1.Job{}).
		Watches(&v1alpha1.BackupStorage{}, handler.EnqueueRequestsFromMapFunc(r.neighbours)).
		Watches(&v1alpha1.BackupStorage{}, handler.EnqueueRequestsFromMapFunc(r.otherDefaults),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Repository{}, handler.EnqueueRequestsFromMapFunc(ofRepository),
			builder.WithPredicates(repositoryChanged)).
		Watches(&v1alpha1.BackupConfiguration{}, r.soonAllGoing(),
			builder.WithPredicates(policyChanged)).
		Watches(&v1alpha1.BackupBatch{}, r.soonAllGoing(),
			builder.WithPredicates(policyChanged)).
		WithOptions(opts).
		Complete(r)
}

func storagesOf(o client.Object) []string {
	seen := map[string]bool{}
	var out []string
	for _, backend := range complete.SpecWithResolved(o.(*v1alpha1.BackupConfiguration)).Backends {
		if backend.StorageRef == nil {
			continue
		}
		if key := backend.StorageRef.In(o.GetNamespace()).String(); !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
	}
	return out
}

// repositoryChanged lets through what a storage's status shows of a Repository.
var repositoryChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.Repository), e.ObjectNew.(*v1alpha1.Repository)
	return before.Status.Size != after.Status.Size || before.Status.Phase != after.Status.Phase ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		conditions.GetMessage(before, meta.ReadyCondition) != conditions.GetMessage(after, meta.ReadyCondition)
}}

// policyChanged lets through what can end the use of a storage.
var policyChanged = predicate.And[client.Object](predicate.GenerationChangedPredicate{}, predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
})

// goes indexes a storage that is being deleted.
func goes(o client.Object) []string {
	if o.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return []string{going}
}

// allGoing returns requests for the storages that are being deleted: policy that changed can have been the last user.
func (r *Reconciler) allGoing(ctx context.Context, _ client.Object) []reconcile.Request {
	var list v1alpha1.BackupStorageList
	if err := r.List(ctx, &list, client.MatchingFields{indexGoing: going}); err != nil {
		return nil
	}
	out := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}

// soonAllGoing calls the storages of allGoing after wakeDelay: one look serves all policies that go meanwhile.
func (r *Reconciler) soonAllGoing() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	call := func(ctx context.Context, o client.Object, q queue) {
		for _, request := range r.allGoing(ctx, o) {
			q.AddAfter(request, wakeDelay)
		}
	}
	return handler.Funcs{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { call(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { call(ctx, e.Object, q) },
	}
}

func ofRepository(_ context.Context, o client.Object) []reconcile.Request {
	if policy.HoldsVolumeSnapshots(o.(*v1alpha1.Repository)) {
		return nil
	}
	storage := o.(*v1alpha1.Repository).Spec.StorageRef.In(o.GetNamespace())
	return []reconcile.Request{{NamespacedName: storage}}
}

// neighbours returns requests for the other storages in the same place: the oldest of them can have changed.
func (r *Reconciler) neighbours(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1alpha1.BackupStorageList
	if err := r.List(ctx, &list, client.MatchingFields{indexPlace: placeOf(o.(*v1alpha1.BackupStorage))}); err != nil {
		return nil
	}
	var out []reconcile.Request
	for _, s := range list.Items {
		if key := client.ObjectKeyFromObject(&s); key != client.ObjectKeyFromObject(o) {
			out = append(out, reconcile.Request{NamespacedName: key})
		}
	}
	return out
}

// placeOf identifies where a storage keeps its data.
func placeOf(s *v1alpha1.BackupStorage) string { return policy.Place(s.Namespace, s.Spec.Storage) }

// placeDigest returns the digest of that place, for status.initializedPlace.
func placeDigest(s *v1alpha1.BackupStorage) string { return policy.Digest([]string{placeOf(s)}) }
