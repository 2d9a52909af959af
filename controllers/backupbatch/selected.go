package backupbatch

import (
	"context"
	"maps"
	"slices"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/selection"
	"github.com/cairn-backup/cairn/internal/policy"
)

// selectedKinds returns the values of a batch in indexSelects.
func selectedKinds(o client.Object) []string {
	batch := o.(*v1alpha1.BackupBatch)
	var out []string
	for _, kind := range v1alpha1.TargetKinds {
		if len(selection.Selecting(batch, kind)) > 0 || len(selection.Named(batch, kind)) > 0 {
			out = append(out, batch.Namespace+"/"+string(kind))
		}
	}
	return out
}

// selectionChanged lets through an update that changes what a selector finds: the labels, the start of a deletion, or
// the generation, which covers the volumes of a workload's pods.
var selectionChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
}}

// ofSelected returns a request for each batch whose selectors find an object of the kind, or that names it beside
// claims. For an update the handler calls it with the old and the new object.
func (r *Reconciler) ofSelected(kind v1alpha1.TargetKind) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		var list v1alpha1.BackupBatchList
		if err := r.List(ctx, &list, client.MatchingFields{indexSelects: o.GetNamespace() + "/" + string(kind)},
			client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list BackupBatches by selected kind")
			return nil
		}
		var out []reconcile.Request
		for i := range list.Items {
			batch := &list.Items[i]
			if selection.Named(batch, kind)[o.GetName()] ||
				slices.ContainsFunc(selection.Selecting(batch, kind), func(t *v1alpha1.BatchTarget) bool {
					return policy.Selects(t.Selector, kind, o.GetName(), o.GetLabels())
				}) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(batch)})
			}
		}
		return out
	}
}

// ofStorage returns requests for the batches whose selectors leave out the claim in which a BackupStorage keeps
// backups. For an update the handler calls it with the old and the new object.
func (r *Reconciler) ofStorage(ctx context.Context, o client.Object) []reconcile.Request {
	local := o.(*v1alpha1.BackupStorage).Spec.Storage.Local
	if local == nil || local.PersistentVolumeClaim == nil {
		return nil
	}
	return r.requests(ctx, client.MatchingFields{
		indexSelects: o.GetNamespace() + "/" + string(v1alpha1.KindPersistentVolumeClaim),
	})
}

// retainedChanged lets through what changes the Repositories in status.retained: another policy in the labels, or the
// start of a deletion. A Repository that is new is not retained.
var retainedChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
}}

// ofRepository returns requests for the batch that a Repository names and for those whose BackupConfigurations use it.
// A Repository that a person wrote names none.
func (r *Reconciler) ofRepository(ctx context.Context, o client.Object) []reconcile.Request {
	requests := r.named(ctx, o)
	configurations, err := users.Of(ctx, r.Client, o.GetNamespace(), o.GetName())
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list BackupConfigurations that use a Repository")
		return requests
	}
	for _, c := range configurations {
		if request, ok := ofOwner(c); ok && !slices.Contains(requests, request) {
			requests = append(requests, request)
		}
	}
	return requests
}

// named returns a request for the batch that a Repository names.
func (r *Reconciler) named(ctx context.Context, o client.Object) []reconcile.Request {
	if o.GetLabels()[v1alpha1.LabelInvokerKind] != v1alpha1.BackupBatchKind {
		return nil
	}
	var list v1alpha1.BackupBatchList
	if err := r.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list BackupBatches that a Repository names")
		return nil
	}
	for i := range list.Items {
		if policy.LabelValue(list.Items[i].Name) == o.GetLabels()[v1alpha1.LabelInvokerName] {
			return []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}}
		}
	}
	return nil
}
