package restorebatch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
)

// SetupWithManager starts the controller with mgr. It wakes when one of its RestoreSessions or a Job of its hooks
// changes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	if err := mgr.Add(r.Hooks.Runner); err != nil {
		return fmt.Errorf("add hook runner: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("restorebatch").
		For(&v1alpha1.RestoreBatch{}, builder.WithPredicates(oneshot.IgnoreRecords())).
		Owns(&v1alpha1.RestoreSession{}, builder.WithPredicates(oneshot.IgnoreRecords())).
		Owns(&batchv1.Job{}).
		WatchesRawSource(source.Channel(r.Hooks.Ended(), &handler.EnqueueRequestForObject{})).
		WithOptions(opts).
		Complete(r)
}
