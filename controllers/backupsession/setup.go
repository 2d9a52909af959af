package backupsession

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
)

const snapshotsByRepository = index.Snapshots("backupsession.snapshots")

// SetupWithManager starts the controller with mgr. The manager should cache only pods with the label LabelManagedBy:
// the controller reads only movers' pods from the cache.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	if err := mgr.Add(r.Hooks.Runner); err != nil {
		return fmt.Errorf("add hook runner: %w", err)
	}
	if err := snapshotsByRepository.Register(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("backupsession").
		For(&v1alpha1.BackupSession{}, builder.WithPredicates(oneshot.IgnoreRecords())).
		Owns(&batchv1.Job{}).
		Watches(&corev1.Pod{}, oneshot.EnqueueByLabel(v1alpha1.LabelBackupSession)).
		Watches(&v1alpha1.Snapshot{}, oneshot.EnqueueByLabel(v1alpha1.LabelBackupSession),
			builder.WithPredicates(oneshot.IgnoreRecords())).
		Watches(&v1alpha1.BackupSession{}, handler.EnqueueRequestsFromMapFunc(r.pending),
			builder.WithPredicates(ended)).
		Watches(&v1alpha1.Repository{}, handler.EnqueueRequestsFromMapFunc(r.pending)).
		Watches(&v1alpha1.BackupConfiguration{}, handler.EnqueueRequestsFromMapFunc(r.pending)).
		WatchesRawSource(source.Channel(r.Hooks.Ended(), &handler.EnqueueRequestForObject{})).
		WithOptions(opts).
		Complete(r)
}

// pending returns a request for each session that can wait for a Repository, a BackupConfiguration or another run of
// its namespace.
func (r *Reconciler) pending(ctx context.Context, o client.Object) []reconcile.Request {
	var sessions v1alpha1.BackupSessionList
	if err := r.List(ctx, &sessions, client.InNamespace(o.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		return nil // Pending sessions also requeue themselves.
	}
	var out []reconcile.Request
	for i := range sessions.Items {
		s := &sessions.Items[i]
		if s.Status.Phase == v1alpha1.BackupSessionPending && s.Status.Resolved == nil {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s)})
		}
	}
	return out
}
