package ledger

import (
	"context"

	"github.com/fluxcd/pkg/runtime/predicates"
	"k8s.io/apimachinery/pkg/types"
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
)

// everything is the only request of the Collector.
var everything = reconcile.Request{NamespacedName: types.NamespacedName{Name: "outbox"}}

// SetupWithManager adds the Collector, and the indexes that it needs, to the manager.
func (c *Collector) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	for _, o := range []client.Object{
		&v1alpha1.BackupSession{}, &v1alpha1.RestoreSession{}, &v1alpha1.RestoreBatch{},
		&v1alpha1.Snapshot{},
	} {
		if err := mgr.GetFieldIndexer().IndexField(context.Background(), o, indexPending, pendingKey); err != nil {
			return err
		}
	}
	opts.MaxConcurrentReconciles = 1 // there is only one request
	enqueue := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{everything}
	})
	pending := builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
		return pendingKey(o) != nil
	}))
	return ctrl.NewControllerManagedBy(mgr).
		Named("ledger-collector").
		WithOptions(opts).
		Watches(&v1alpha1.BackupSession{}, enqueue, pending).
		Watches(&v1alpha1.RestoreSession{}, enqueue, pending).
		Watches(&v1alpha1.RestoreBatch{}, enqueue, pending).
		Watches(&v1alpha1.Snapshot{}, enqueue, pending).
		Watches(&v1alpha1.Ledger{}, enqueue,
			builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, emptied))).
		Complete(c)
}

// emptied lets through an update that makes room for waiting objects: the outbox of a Ledger holds fewer records.
var emptied = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.Ledger)
		after, also := e.ObjectNew.(*v1alpha1.Ledger)
		return ok && also && after.Status.Pending < before.Status.Pending
	},
}

// SetupWithManager adds the Reconciler to the manager. It wakes when a Ledger or a PolicySync changes, and when the
// Collector has written to an outbox.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	annotated := predicate.AnnotationChangedPredicate{} // to give up records, or to request a reconcile
	changed := predicate.Or(predicate.GenerationChangedPredicate{}, predicates.ReconcileRequestedPredicate{}, annotated)
	all := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
		var ledgers v1alpha1.LedgerList
		if err := mgr.GetClient().List(ctx, &ledgers); err != nil {
			return nil
		}
		var out []reconcile.Request
		for i := range ledgers.Items {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&ledgers.Items[i])})
		}
		return out
	})
	written := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, l *v1alpha1.Ledger) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(l)}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("ledger").
		WithOptions(opts).
		For(&v1alpha1.Ledger{}, builder.WithPredicates(changed)).
		Watches(&v1alpha1.PolicySync{}, all, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.Channel(r.Outbox.wake, written)).
		Complete(r)
}
