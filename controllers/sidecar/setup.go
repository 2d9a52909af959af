package sidecar

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// indexWorkload indexes BackupConfigurations by their workload: "<kind>/<name>".
const indexWorkload = "sidecar.workload"

// SetupWithManager registers the controller, its index and its watches. It must be called before any other method.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.BackupConfiguration{}, indexWorkload,
		func(o client.Object) []string {
			t := o.(*v1alpha1.BackupConfiguration).Spec.Target
			if t == nil || !slices.Contains(workloadKinds, t.Kind) {
				return nil
			}
			return []string{t.Kind + "/" + t.Name}
		}); err != nil {
		return fmt.Errorf("index BackupConfigurations by %s: %w", indexWorkload, err)
	}
	written := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	b := ctrl.NewControllerManagedBy(mgr).
		Named("sidecar").
		// Watch their status too: it changes when a run ends. Secrets are not watched; the controller reads them again
		// when a run ends, and when a sidecar is assigned work, because the sidecar waits until it has the current
		// keys.
		Watches(&v1alpha1.BackupConfiguration{}, handler.EnqueueRequestsFromMapFunc(ofConfiguration)).
		Watches(&v1alpha1.Snapshot{}, handler.EnqueueRequestsFromMapFunc(ofSnapshot), builder.WithPredicates(given)).
		Watches(&v1alpha1.RestoreSession{}, handler.EnqueueRequestsFromMapFunc(ofRestore),
			builder.WithPredicates(given)).
		Watches(&v1alpha1.Repository{}, handler.EnqueueRequestsFromMapFunc(r.inNamespace), written).
		Watches(&v1alpha1.BackupStorage{}, handler.EnqueueRequestsFromMapFunc(r.everywhere), written).
		Watches(&v1alpha1.Addon{}, handler.EnqueueRequestsFromMapFunc(r.everywhere), written).
		Watches(&v1alpha1.Function{}, handler.EnqueueRequestsFromMapFunc(r.everywhere), written).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace), builder.WithPredicates(consent))
	for _, kind := range workloadKinds {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(kind))
		b = b.WatchesMetadata(o, handler.EnqueueRequestsFromMapFunc(r.ofWorkload(kind)),
			builder.WithPredicates(touched))
	}
	return b.WithOptions(opts).Complete(r)
}

// touched lets through workloads that appear, and workloads with a sidecar whose spec or label has changed.
var touched = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.GetLabels()[v1alpha1.LabelSidecar], e.ObjectNew.GetLabels()[v1alpha1.LabelSidecar]
		return before != after || after != "" && e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration()
	},
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}

// consent lets through changes of a Namespace's labels, which usage policies judge, and of its consent to privileged
// movers.
var consent = predicate.Or[client.Object](predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{})

// given lets through Snapshots and RestoreSessions that assign work to a sidecar.
var given = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return e.Object.GetLabels()[v1alpha1.LabelSidecar] != "" },
	UpdateFunc: func(e event.UpdateEvent) bool {
		task := e.ObjectNew.GetAnnotations()[v1alpha1.AnnotationSidecarTask]
		return task != "" && task != e.ObjectOld.GetAnnotations()[v1alpha1.AnnotationSidecarTask]
	},
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}

func ofSnapshot(_ context.Context, o client.Object) []reconcile.Request {
	app := o.(*v1alpha1.Snapshot).Spec.AppRef
	return []reconcile.Request{requestOf(app.Kind, o.GetNamespace(), app.Name)}
}

func ofRestore(_ context.Context, o client.Object) []reconcile.Request {
	t := o.(*v1alpha1.RestoreSession).Spec.Target
	if t == nil || !slices.Contains(workloadKinds, t.Kind) {
		return nil
	}
	return []reconcile.Request{requestOf(t.Kind, o.GetNamespace(), t.Name)}
}

func ofConfiguration(_ context.Context, o client.Object) []reconcile.Request {
	t := o.(*v1alpha1.BackupConfiguration).Spec.Target
	if t == nil || !slices.Contains(workloadKinds, t.Kind) {
		return nil
	}
	return []reconcile.Request{requestOf(t.Kind, o.GetNamespace(), t.Name)}
}

// ofWorkload returns a request for a workload that has a sidecar or that policy names.
func (r *Reconciler) ofWorkload(kind string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		if o.GetLabels()[v1alpha1.LabelSidecar] != "" {
			return []reconcile.Request{requestOf(kind, o.GetNamespace(), o.GetName())}
		}
		return r.requests(ctx, client.InNamespace(o.GetNamespace()),
			client.MatchingFields{indexWorkload: kind + "/" + o.GetName()})
	}
}

func (r *Reconciler) inNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(o.GetNamespace()))
}

func (r *Reconciler) ofNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(o.GetName()))
}

func (r *Reconciler) everywhere(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.requests(ctx)
}

// requests returns a request for the workload of each BackupConfiguration that the options select, each workload once.
func (r *Reconciler) requests(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list BackupConfigurations by changed object")
		return nil
	}
	seen := map[reconcile.Request]bool{}
	var out []reconcile.Request
	for i := range list.Items {
		for _, request := range ofConfiguration(ctx, &list.Items[i]) {
			if !seen[request] {
				seen[request] = true
				out = append(out, request)
			}
		}
	}
	return out
}

// worthLooking reports whether a workload has a sidecar, is to have one, or had something of ours when this manager
// looked last. Other workloads cost no request. The label is not enough: who takes the sidecar out of the pod template
// can take the label with it, and the Secret with keys and token is still there.
func (r *Reconciler) worthLooking(ctx context.Context, kind string, key client.ObjectKey, w *wanted) (bool, error) {
	if w.any() {
		r.kept.Store(workloadKey(kind, key), true)
		return true, nil
	}
	if _, kept := r.kept.Load(workloadKey(kind, key)); kept {
		return true, nil
	}
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(kind))
	if err := r.Get(ctx, key, o); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get %s %s: %w", kind, key, err)
	}
	return o.GetLabels()[v1alpha1.LabelSidecar] != "", nil
}

// remember notes after a look that succeeded whether there is something to come back for. A look that failed changes
// nothing: what it did not see can still be there.
func (r *Reconciler) remember(kind string, key client.ObjectKey, l *update) {
	if l.anything() {
		r.kept.Store(workloadKey(kind, key), true)
	} else {
		r.kept.Delete(workloadKey(kind, key))
	}
}

func workloadKey(kind string, key client.ObjectKey) string { return kind + "/" + key.String() }
