package defaults

import (
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Changes passes the events that can change which object of a kind is a default.
var Changes = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return isDefault(e.Object) },
	DeleteFunc: func(e event.DeleteEvent) bool { return isDefault(e.Object) },
	UpdateFunc: func(e event.UpdateEvent) bool {
		const replaces = v1alpha1.AnnotationReplacesDefault
		changed := e.ObjectOld.GetAnnotations()[replaces] != e.ObjectNew.GetAnnotations()[replaces] ||
			e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
		return changed && (isDefault(e.ObjectOld) || isDefault(e.ObjectNew))
	},
}

// isDefault reports whether an object declares itself a default.
func isDefault(o client.Object) bool {
	switch o := o.(type) {
	case *v1alpha1.BackupStorage:
		return o.Spec.Default
	case *v1alpha1.RetentionPolicy:
		return o.Spec.Default
	}
	return false
}
