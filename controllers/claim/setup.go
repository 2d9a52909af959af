package claim

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/cairn-backup/cairn/internal/workload"
)

// indexClaim finds the pods that name a claim.
const indexClaim = "claim.pods"

// SetupWithManager registers the controller, its index and its watch. The manager should cache only pods with the label
// LabelManagedBy.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &corev1.Pod{}, indexClaim,
		func(o client.Object) []string { return workload.ClaimsOfPod(o.(*corev1.Pod)) }); err != nil {
		return fmt.Errorf("index Pods by PersistentVolumeClaim: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("claim").
		For(&corev1.PersistentVolumeClaim{}, builder.OnlyMetadata, builder.WithPredicates(goes)).
		WithOptions(opts).
		Complete(r)
}

// goes lets through a claim that is being deleted. Most claims never are, so they cause no work.
var goes = predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetDeletionTimestamp() != nil })
