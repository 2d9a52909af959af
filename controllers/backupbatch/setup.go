package backupbatch

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/kube/selection"
	"github.com/cairn-backup/cairn/internal/kube/trigger"
	"github.com/cairn-backup/cairn/internal/policy"
)

// The indexes of the cache. BackupConfigurations are indexed by the UID of their batch, BackupBatches by the names of
// their children.
const (
	indexOwner = "backupbatch.owner"
	indexChild = "backupbatch.child"
	// indexSelects holds the kinds that the selectors of a batch find: "<namespace>/<kind>".
	indexSelects = "backupbatch.selects"
	// indexHookTemplate holds the HookTemplates of a batch: "<namespace>/<name>".
	indexHookTemplate = "backupbatch.hooktemplate"
)

// users finds by a Repository the BackupConfigurations that use it, marked by a batch the Repositories that name it.
const (
	users  = index.Users("backupbatch.uses")
	marked = index.Marked("backupbatch.marked")
)

// runs indexes BackupSessions by their BackupBatch.
var runs = trigger.RunsIndex{Field: "backupbatch.runs", Kind: v1alpha1.BackupBatchKind}

// SetupWithManager registers the controller, its indexes and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	ctx := context.Background()
	if err := registerIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	written := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{},
		predicate.AnnotationChangedPredicate{})
	b := ctrl.NewControllerManagedBy(mgr).
		Named("backupbatch").
		// Watch the batch's own status too: a reconcile that read the cache before it held the last write can have left
		// out a part of the status, and nothing else would restore it.
		For(&v1alpha1.BackupBatch{}).
		Owns(&batchv1.CronJob{}, builder.WithPredicates(written)).
		Watches(&v1alpha1.BackupSession{}, runs.Invoker(), builder.WithPredicates(trigger.RunChanges())).
		Watches(&v1alpha1.BackupConfiguration{}, handler.EnqueueRequestsFromMapFunc(r.ofConfiguration)).
		Watches(&v1alpha1.Repository{}, handler.EnqueueRequestsFromMapFunc(r.ofRepository),
			builder.WithPredicates(predicate.Or[client.Object](retainedChanged, trigger.HoldingChanged))).
		Watches(&v1alpha1.HookTemplate{}, handler.EnqueueRequestsFromMapFunc(r.ofHookTemplate)).
		Watches(&v1alpha1.Function{}, handler.EnqueueRequestsFromMapFunc(r.ofFunction),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.BackupStorage{}, handler.EnqueueRequestsFromMapFunc(r.ofStorage),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace),
			builder.WithPredicates(predicate.LabelChangedPredicate{}))
	for _, kind := range v1alpha1.TargetKinds {
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(selection.GroupVersionKind(kind))
		b = b.WatchesMetadata(object, handler.EnqueueRequestsFromMapFunc(r.ofSelected(kind)),
			builder.WithPredicates(selectionChanged))
	}
	return b.WithOptions(opts).Complete(r)
}

// registerIndexes adds the indexes to a cache.
func registerIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &v1alpha1.BackupConfiguration{}, indexOwner,
		func(o client.Object) []string {
			if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == v1alpha1.BackupBatchKind {
				return []string{string(owner.UID)}
			}
			return nil
		}); err != nil {
		return fmt.Errorf("index BackupConfigurations by batch: %w", err)
	}
	if err := indexer.IndexField(ctx, &v1alpha1.BackupBatch{}, indexChild,
		func(o client.Object) []string {
			batch := o.(*v1alpha1.BackupBatch)
			targets := policy.KnownTargets(batch)
			names := make([]string, len(targets))
			for i, target := range targets {
				names[i] = policy.ChildName(batch.Name, target.Name)
			}
			return names
		}); err != nil {
		return fmt.Errorf("index BackupBatches by child: %w", err)
	}
	if err := indexer.IndexField(ctx, &v1alpha1.BackupBatch{}, indexSelects, selectedKinds); err != nil {
		return fmt.Errorf("index BackupBatches by selected kind: %w", err)
	}

	if err := indexer.IndexField(ctx, &v1alpha1.BackupBatch{}, indexHookTemplate,
		func(o client.Object) []string {
			return hookTemplates(o.(*v1alpha1.BackupBatch))
		}); err != nil {
		return fmt.Errorf("index BackupBatches by HookTemplate: %w", err)
	}
	for _, register := range []func(context.Context, client.FieldIndexer) error{
		runs.Register, users.Register, marked.Register,
	} {
		if err := register(ctx, indexer); err != nil {
			return err
		}
	}
	return nil
}

// ofOwner returns a request for the batch that owns a BackupConfiguration, if one does.
func ofOwner(o client.Object) (request reconcile.Request, ok bool) {
	owner := metav1.GetControllerOf(o)
	if owner == nil || owner.Kind != v1alpha1.BackupBatchKind {
		return reconcile.Request{}, false
	}
	return reconcile.Request{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: owner.Name}}, true
}

// ofConfiguration returns requests for the batch that owns a BackupConfiguration and for the batches that want its
// name: the object can be an orphaned child, or a foreign object that is being deleted.
func (r *Reconciler) ofConfiguration(ctx context.Context, o client.Object) []reconcile.Request {
	var requests []reconcile.Request
	if request, ok := ofOwner(o); ok {
		requests = append(requests, request)
	}
	var list v1alpha1.BackupBatchList
	if err := r.List(ctx, &list, client.InNamespace(o.GetNamespace()),
		client.MatchingFields{indexChild: o.GetName()}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list BackupBatches by child name")
		return requests
	}
	for i := range list.Items {
		if key := client.ObjectKeyFromObject(&list.Items[i]); len(requests) == 0 || requests[0].NamespacedName != key {
			requests = append(requests, reconcile.Request{NamespacedName: key})
		}
	}
	return requests
}
