package restoresession

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
)

// SetupWithManager starts the controller with mgr. The manager should cache only pods with the label LabelManagedBy:
// the controller reads only movers' pods from the cache.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	if err := mgr.Add(r.Hooks.Runner); err != nil {
		return fmt.Errorf("add hook runner: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("restoresession").
		For(&v1alpha1.RestoreSession{}, builder.WithPredicates(oneshot.IgnoreRecords())).
		Owns(&batchv1.Job{}).
		Watches(&corev1.Pod{}, oneshot.EnqueueByLabel(v1alpha1.LabelRestoreSession)).
		WatchesRawSource(source.Channel(r.Hooks.Ended(), &handler.EnqueueRequestForObject{})).
		WithOptions(opts).
		Complete(r)
}
