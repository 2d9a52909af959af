package ledger

import (
	"context"
	"slices"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
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
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
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

// proved lets through an update after which a Ledger has pushed to its branch for the first time: from then on its page
// counts on those of others.
var proved = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.Ledger)
		after, also := e.ObjectNew.(*v1alpha1.Ledger)
		return ok && also && ledger.ClaimOf(before).Proved != ledger.ClaimOf(after).Proved
	},
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

// onPage lets through what changes the policy that STATUS.md shows: policy that comes, goes or changes, its targets,
// and the status that follows a change. The next slot alone moves with each run, whose record updates the page anyway.
// The children of a batch have no row.
var onPage = predicate.And[client.Object](predicate.NewPredicateFuncs(func(o client.Object) bool {
	return o.GetLabels()[v1alpha1.LabelBatch] == "" && !v1alpha1.HasRecordAnnotation(o.GetAnnotations())
}), predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() {
		return true
	}
	switch before := e.ObjectOld.(type) {
	case *v1alpha1.BackupBatch:
		after, ok := e.ObjectNew.(*v1alpha1.BackupBatch)
		return ok && (before.Status.ObservedGeneration != after.Status.ObservedGeneration ||
			!slices.Equal(policy.KnownEmpty(before), policy.KnownEmpty(after)) ||
			!slices.EqualFunc(policy.KnownTargets(before), policy.KnownTargets(after),
				func(a, b policy.Target) bool { return a.AppRef == b.AppRef }))
	case *v1alpha1.BackupConfiguration:
		after, ok := e.ObjectNew.(*v1alpha1.BackupConfiguration)
		return ok && before.Status.ObservedGeneration != after.Status.ObservedGeneration
	}
	return false
}})

// outdated marks the Ledgers whose page shows a policy, and returns them. Others need not ask their Git server.
func (r *Reconciler) outdated(ctx context.Context, o client.Object) (out []reconcile.Request) {
	var ledgers v1alpha1.LedgerList
	if err := r.Client.List(ctx, &ledgers, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Ledgers")
		return nil
	}
	shown := namespaces{read.NewNamespaceLabels(r.Client)}
	for i := range ledgers.Items {
		m, err := newMatcher(&ledgers.Items[i], r.Administrators)
		if err != nil {
			continue // its own reconcile says so
		}
		if shows, err := shown.recordedBy(ctx, m.scope, o.GetNamespace()); err == nil && !shows {
			continue
		}
		key := client.ObjectKeyFromObject(&ledgers.Items[i])
		r.memories.changed(key, r.Clock.Now())
		out = append(out, reconcile.Request{NamespacedName: key})
	}
	return out
}

// sharers marks the other Ledgers that write the page of a Ledger that comes, changes or goes, and returns them.
func (r *Reconciler) sharers(ctx context.Context, o client.Object) (out []reconcile.Request) {
	l, ok := o.(*v1alpha1.Ledger)
	if !ok {
		return nil
	}
	others, err := r.sharing(ctx, l)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Ledgers")
		return nil
	}
	for _, other := range others {
		key := client.ObjectKeyFromObject(other)
		r.memories.changed(key, r.Clock.Now())
		out = append(out, reconcile.Request{NamespacedName: key})
	}
	return out
}

// waiting returns the Ledgers of the namespace of a Ledger that comes or goes that were too many.
func (r *Reconciler) waiting(ctx context.Context, o client.Object) (out []reconcile.Request) {
	var ledgers v1alpha1.LedgerList
	if err := r.Client.List(ctx, &ledgers, client.InNamespace(o.GetNamespace())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Ledgers")
		return nil
	}
	for i := range ledgers.Items {
		l := &ledgers.Items[i]
		if conditions.GetReason(l, meta.ReadyCondition) == v1alpha1.ReasonTooManyLedgers {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(l)})
		}
	}
	return out
}

// SetupWithManager adds the Reconciler, and the index that it needs, to the manager. It wakes when a Ledger, a
// PolicySync or a policy on the page changes, and when the Collector has written to an outbox.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.Snapshot{}, indexDamaged, damagedKey)
	if err != nil {
		return err
	}
	annotated := predicate.AnnotationChangedPredicate{} // to give up records, or to request a reconcile
	changed := predicate.Or(predicate.GenerationChangedPredicate{}, predicates.ReconcileRequestedPredicate{}, annotated)
	ledgers := func(ctx context.Context, _ client.Object) []reconcile.Request {
		var ledgers v1alpha1.LedgerList
		if err := mgr.GetClient().List(ctx, &ledgers, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list Ledgers")
			return nil
		}
		var out []reconcile.Request
		for i := range ledgers.Items {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&ledgers.Items[i])})
		}
		return out
	}
	all := handler.EnqueueRequestsFromMapFunc(ledgers)
	outdated := handler.EnqueueRequestsFromMapFunc(r.outdated)
	written := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, l *v1alpha1.Ledger) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(l)}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("ledger").
		WithOptions(opts).
		For(&v1alpha1.Ledger{}, builder.WithPredicates(changed)).
		Watches(&v1alpha1.Ledger{}, handler.EnqueueRequestsFromMapFunc(r.sharers),
			builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, proved))).
		Watches(&v1alpha1.Ledger{}, handler.EnqueueRequestsFromMapFunc(r.waiting),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.PolicySync{}, all, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.BackupBatch{}, outdated, builder.WithPredicates(onPage)).
		Watches(&v1alpha1.BackupConfiguration{}, outdated, builder.WithPredicates(onPage)).
		WatchesRawSource(source.Channel(r.Outbox.wake, written)).
		Complete(r)
}
