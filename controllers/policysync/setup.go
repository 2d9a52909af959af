package policysync

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/fluxcd/pkg/runtime/predicates"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/share"
)

// SetupWithManager watches PolicySyncs: their spec, reconcile requests and consents to removals. A reconcile occupies
// its worker for as long as fetching and applying takes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	if r.RESTConfig == nil {
		r.RESTConfig = rest.CopyConfig(mgr.GetConfig())
	}
	if opts.RateLimiter == nil {
		opts.RateLimiter = r.rateLimiter()
	}
	r.workers = share.Of(cmp.Or(opts.MaxConcurrentReconciles, mgr.GetControllerOptions().MaxConcurrentReconciles, 1))
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

// firstRetry is the delay after the first of some errors in a row. It doubles with each.
const firstRetry = 5 * time.Millisecond

// rateLimiter delays what follows an error, such as of a status that the API server could not take. The delay doubles
// with each error, but not beyond the retryInterval of the PolicySync: that is when it tries again after any fault.
func (r *Reconciler) rateLimiter() workqueue.TypedRateLimiter[reconcile.Request] {
	doubling := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, math.MaxInt64)
	return &retries{doubling, r}
}

type retries struct {
	workqueue.TypedRateLimiter[reconcile.Request]
	r *Reconciler
}

// When returns the delay. The PolicySync comes from the cache.
func (l *retries) When(req reconcile.Request) time.Duration {
	s := reconciling{Reconciler: l.r, obj: &v1alpha1.PolicySync{}}
	longest := defaultInterval
	if err := l.r.Get(context.Background(), req.NamespacedName, s.obj); err == nil {
		longest = s.retryInterval()
	}
	return l.r.jittered(min(l.TypedRateLimiter.When(req), longest))
}

func (r *Reconciler) jittered(d time.Duration) time.Duration {
	if r.Jitter != nil {
		return r.Jitter(d)
	}
	return d - d/20 + time.Duration(rand.Int64N(int64(d/10)+1))
}

// maxPerNamespace is the number of PolicySyncs of a namespace that are served. Each has a Git server to wait for, and
// takes time and disk of the manager.
const maxPerNamespace = 16

// checkNumber returns a fault if the namespace has too many older PolicySyncs. Of PolicySyncs of the same second, those
// are served whose names sort first.
func (s *reconciling) checkNumber(ctx context.Context) *fault {
	if s.Administrators.Has(s.obj.Namespace) {
		return nil
	}
	var all v1alpha1.PolicySyncList
	if err := s.List(ctx, &all, client.InNamespace(s.obj.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return applyFault(ctx, fmt.Errorf("list PolicySyncs: %w", err), nil)
	}
	older := 0
	for i := range all.Items {
		if p := &all.Items[i]; !v1alpha1.HasRecordAnnotation(p.Annotations) && comesBefore(p, s.obj) {
			older++
		}
	}
	if older < maxPerNamespace {
		return nil
	}
	return &fault{
		reason: v1alpha1.ReasonTooManyPolicySyncs, stalled: true,
		message: fmt.Sprintf("the namespace has %d older PolicySyncs, and no more are served: delete one, or have it "+
			"in a namespace of the administrators", maxPerNamespace),
	}
}

func comesBefore(a, b *v1alpha1.PolicySync) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) < 0
}
