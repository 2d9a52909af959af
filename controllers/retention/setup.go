package retention

import (
	"cmp"
	"context"
	"fmt"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// The indexes of the cache.
const (
	indexRepository       = "retention.repository"
	indexPolicy           = "retention.policy"
	snapshotsByRepository = index.Snapshots("retention.snapshots")
	indexSessions         = "retention.sessions"
	restores              = index.Restores("retention.restores")
)

// infers is the value in indexPolicy of configurations that name no policy for one of their Repositories. No policy has
// this key.
const infers = "default"

// SetupWithManager registers the controller, its indexes and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	ctx, indexer := context.Background(), mgr.GetFieldIndexer()
	for _, index := range []struct {
		object client.Object
		field  string
		values func(client.Object) []string
	}{
		{&v1alpha1.BackupConfiguration{}, indexRepository, repositoriesOf},
		{&v1alpha1.BackupConfiguration{}, indexPolicy, policiesOf},
		{&v1alpha1.BackupSession{}, indexSessions, ended},
	} {
		if err := indexer.IndexField(ctx, index.object, index.field, index.values); err != nil {
			return fmt.Errorf("index by %s: %w", index.field, err)
		}
	}
	if err := snapshotsByRepository.Register(ctx, indexer); err != nil {
		return err
	}
	if err := restores.Register(ctx, indexer); err != nil {
		return err
	}
	enqueue := handler.EnqueueRequestsFromMapFunc
	return ctrl.NewControllerManagedBy(mgr).
		Named("retention").
		For(&v1alpha1.Repository{}).
		Watches(&v1alpha1.Snapshot{}, enqueue(r.ofSnapshot), builder.WithPredicates(decisive)).
		Watches(&v1alpha1.BackupConfiguration{}, enqueue(ofConfiguration),
			builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, deletion))).
		Watches(&v1alpha1.RetentionPolicy{}, enqueue(r.ofPolicy),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.RetentionPolicy{}, enqueue(r.ofDefault), builder.WithPredicates(defaults.Changes)).
		Watches(&v1alpha1.BackupSession{}, enqueue(ofSession), builder.WithPredicates(ending)).
		Watches(&v1alpha1.RestoreSession{}, enqueue(r.ofRestore), builder.WithPredicates(ending)).
		Watches(&v1alpha1.RestoreBatch{}, enqueue(r.ofRestoreBatch), builder.WithPredicates(ending)).
		Watches(&corev1.Namespace{}, enqueue(r.ofNamespace), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WithOptions(opts).
		Complete(r)
}

func repositoriesOf(o client.Object) []string {
	var out []string
	for name := range retention.PoliciesByRepository(o.(*v1alpha1.BackupConfiguration)) {
		out = append(out, name)
	}
	return out
}

func policiesOf(o client.Object) []string {
	seen := map[string]bool{}
	var out []string
	for _, ref := range retention.PoliciesByRepository(o.(*v1alpha1.BackupConfiguration)) {
		name := refName(ref)
		if ref.Name == "" {
			name = infers
		}
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// ended returns the Repositories of a BackupSession that has ended.
func ended(o client.Object) []string {
	s := o.(*v1alpha1.BackupSession)
	if !s.Status.Phase.Terminal() || !v1alpha1.InForce(s) {
		return nil
	}
	seen := map[string]bool{}
	var out []string
	for _, info := range s.Status.Snapshots {
		if !seen[info.Repository] {
			seen[info.Repository] = true
			out = append(out, info.Repository)
		}
	}
	return out
}

// decisive lets through updates that change a decision, or the progress of a removal.
var decisive = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.Snapshot), e.ObjectNew.(*v1alpha1.Snapshot)
	return before.Status.Phase != after.Status.Phase || before.Generation != after.Generation ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		len(before.Finalizers) != len(after.Finalizers) ||
		whyNotWiped(before) != whyNotWiped(after) ||
		!equality.Semantic.DeepEqual(before.Status.Integrity, after.Status.Integrity) ||
		!equality.Semantic.DeepEqual(before.Status.SnapshotTime, after.Status.SnapshotTime)
}}

// whyNotWiped returns why the data of a Snapshot is not gone yet. A Repository tells it, too.
func whyNotWiped(s *v1alpha1.Snapshot) trouble {
	return trouble{
		conditions.GetReason(s, v1alpha1.ConditionWiped), conditions.GetMessage(s, v1alpha1.ConditionWiped),
	}
}

// deletion lets through the update with which the deletion of an object begins.
var deletion = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
}}

// ending lets through the update with which a run or restore ends, and its deletion.
var ending = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool { return !over(e.ObjectOld) && over(e.ObjectNew) },
}

func over(o client.Object) bool {
	switch s := o.(type) {
	case *v1alpha1.BackupSession:
		return s.Status.Phase.Terminal()
	case *v1alpha1.RestoreSession:
		return s.Status.Phase.Terminal()
	case *v1alpha1.RestoreBatch:
		return s.Status.Phase.Terminal()
	}
	return false
}

// ofSnapshot returns requests for the Snapshot's Repository and for those that hold the rest of its restore point.
func (r *Reconciler) ofSnapshot(ctx context.Context, o client.Object) []reconcile.Request {
	s := o.(*v1alpha1.Snapshot)
	out := []reconcile.Request{request(s.Namespace, s.Spec.Repository)}
	if s.Labels[v1alpha1.LabelInvokerKind] != v1alpha1.BackupBatchKind {
		return out
	}
	var point v1alpha1.SnapshotList
	if err := r.List(ctx, &point, client.InNamespace(s.Namespace),
		client.MatchingLabels{v1alpha1.LabelRestorePoint: retention.Point(s)}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Snapshots of restore point")
	}
	for i := range point.Items {
		if name := point.Items[i].Spec.Repository; name != s.Spec.Repository {
			out = append(out, request(s.Namespace, name))
		}
	}
	return out
}

func ofConfiguration(_ context.Context, o client.Object) []reconcile.Request {
	var out []reconcile.Request
	for _, name := range repositoriesOf(o) {
		out = append(out, request(o.GetNamespace(), name))
	}
	return out
}

func (r *Reconciler) ofPolicy(ctx context.Context, o client.Object) []reconcile.Request {
	return r.under(ctx, o.GetNamespace()+"/"+o.GetName())
}

// ofDefault returns requests for the Repositories for which a default can count.
func (r *Reconciler) ofDefault(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.under(ctx, infers)
}

// under returns requests for the Repositories of the BackupConfigurations with a value in indexPolicy.
func (r *Reconciler) under(ctx context.Context, value string) []reconcile.Request {
	var list v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &list, client.MatchingFields{indexPolicy: value}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list BackupConfigurations by RetentionPolicy")
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, ofConfiguration(ctx, &list.Items[i])...)
	}
	return out
}

func ofSession(_ context.Context, o client.Object) []reconcile.Request {
	var out []reconcile.Request
	for _, name := range ended(o) {
		out = append(out, request(o.GetNamespace(), name))
	}
	return out
}

// ofRestore returns a request for the Repository that a restore reads.
func (r *Reconciler) ofRestore(ctx context.Context, o client.Object) []reconcile.Request {
	s := o.(*v1alpha1.RestoreSession)
	if s.Spec.DataSource == nil {
		return nil
	}
	namespace := cmp.Or(s.Spec.DataSource.Namespace, s.Namespace)
	if resolved := s.Status.Resolved; resolved != nil {
		return []reconcile.Request{request(namespace, resolved.Repository.Name)}
	}
	if s.Spec.DataSource.Repository != "" {
		return []reconcile.Request{request(namespace, s.Spec.DataSource.Repository)}
	}
	var snapshot v1alpha1.Snapshot
	if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: s.Spec.DataSource.Snapshot},
		&snapshot); err != nil {
		return nil
	}
	return []reconcile.Request{request(namespace, snapshot.Spec.Repository)}
}

// ofRestoreBatch returns requests for the Repositories that a RestoreBatch reads. One that ended before it chose its
// Snapshots held all those that it could choose.
func (r *Reconciler) ofRestoreBatch(ctx context.Context, o client.Object) []reconcile.Request {
	b := o.(*v1alpha1.RestoreBatch)
	var out []reconcile.Request
	if resolved := b.Status.Resolved; resolved != nil {
		for _, t := range resolved.Targets {
			out = append(out, request(resolved.Namespace, t.Repository))
		}
		return out
	}
	var list v1alpha1.SnapshotList
	namespace := cmp.Or(b.Spec.DataSource.Namespace, b.Namespace)
	if err := r.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{
		v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind,
		v1alpha1.LabelInvokerName: policy.LabelValue(b.Spec.DataSource.BackupBatch),
	}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Snapshots of BackupBatch")
	}
	for i := range list.Items {
		out = append(out, request(namespace, list.Items[i].Spec.Repository))
	}
	return out
}

// ofNamespace returns requests for the Repositories of the Namespace: the usagePolicy of their policy can judge it by
// its labels.
func (r *Reconciler) ofNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1alpha1.RepositoryList
	if err := r.List(ctx, &list, client.InNamespace(o.GetName())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Repositories of Namespace")
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, request(list.Items[i].Namespace, list.Items[i].Name))
	}
	return out
}

func request(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: name}}
}
