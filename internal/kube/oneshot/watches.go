package oneshot

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// IgnoreRecords ignores objects that are records.
func IgnoreRecords() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(o client.Object) bool {
		return !v1alpha1.HasRecordAnnotation(o.GetAnnotations())
	})
}

// EnqueueByLabel requests the object of the same namespace whose name is the value of label.
func EnqueueByLabel(label string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name := o.GetLabels()[label]
		if name == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
	})
}
