package policysync

import (
	"math/rand/v2"
	"time"

	"github.com/fluxcd/pkg/runtime/predicates"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// SetupWithManager watches PolicySyncs: their spec, reconcile requests and consents to removals. A reconcile occupies
// its worker for as long as fetching and applying takes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	if r.RESTConfig == nil {
		r.RESTConfig = rest.CopyConfig(mgr.GetConfig())
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.PolicySync{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicates.ReconcileRequestedPredicate{}, consentChanged{},
		))).
		Named("policysync").
		WithOptions(opts).
		Complete(r)
}

// consentChanged lets through updates of the consent to a removal.
type consentChanged struct{ predicate.Funcs }

// Update reports whether the consent has changed.
func (consentChanged) Update(e event.UpdateEvent) bool {
	const consent = v1alpha1.AnnotationAllowDelete
	return e.ObjectOld != nil && e.ObjectNew != nil &&
		e.ObjectOld.GetAnnotations()[consent] != e.ObjectNew.GetAnnotations()[consent]
}

func (r *Reconciler) jittered(d time.Duration) time.Duration {
	if r.Jitter != nil {
		return r.Jitter(d)
	}
	return d - d/20 + time.Duration(rand.Int64N(int64(d/10)+1))
}
