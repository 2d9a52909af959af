package restoresession

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// SetupWithManager starts the controller with mgr. The manager's cache of pods should be limited to the label
// LabelManagedBy: only movers' pods are looked at through it.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	ours := predicate.NewPredicateFuncs(func(o client.Object) bool { return !v1alpha1.HasRecordAnnotation(o.GetAnnotations()) })
	return ctrl.NewControllerManagedBy(mgr).
		Named("restoresession").
		For(&v1alpha1.RestoreSession{}, builder.WithPredicates(ours)).
		Owns(&batchv1.Job{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(bySession)).
		WithOptions(opts).
		Complete(r)
}

// bySession finds the restore of a pod by its label.
func bySession(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[v1alpha1.LabelRestoreSession]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}
