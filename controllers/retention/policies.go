package retention

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
	"github.com/cairn-backup/cairn/internal/retention"
)

// PolicyReconciler reports for each RetentionPolicy whether it can be used.
type PolicyReconciler struct {
	client.Client
	record.EventRecorder

	// FieldManager owns all writes.
	FieldManager string
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators
}

func (r *PolicyReconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.RetentionPolicyKind,
	}
}

// Reconcile checks one RetentionPolicy.
func (r *PolicyReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := &v1alpha1.RetentionPolicy{}
	return r.writer().Reconcile(ctx, req.NamespacedName, p, func(ctx context.Context) (ctrl.Result, error) {
		if err := r.judgeDefault(ctx, p); err != nil {
			return ctrl.Result{}, err
		}
		p.Status.ObservedGeneration = p.Generation
		if _, err := retention.Read(&p.Spec); err != nil {
			status.Stalled(p, v1alpha1.ReasonInvalidRetentionPolicy, err.Error())
		} else {
			status.Ready(p, "the policy can be used")
		}
		return ctrl.Result{}, nil
	})
}

// judgeDefault marks a default that is no default for somebody who could expect it.
func (r *PolicyReconciler) judgeDefault(ctx context.Context, p *v1alpha1.RetentionPolicy) error {
	var list v1alpha1.RetentionPolicyList
	if err := r.List(ctx, &list, client.InNamespace(p.Namespace)); err != nil {
		return fmt.Errorf("list RetentionPolicies of Namespace %s: %w", p.Namespace, err)
	}
	defaults.MarkIgnoredDefault(p, v1alpha1.RetentionPolicyKind, complete.DefaultPolicies(list.Items),
		r.Administrators)
	return nil
}

// otherDefaults returns requests for the other defaults of a namespace.
func (r *PolicyReconciler) otherDefaults(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1alpha1.RetentionPolicyList
	if err := r.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list RetentionPolicies of Namespace")
	}
	var out []reconcile.Request
	for i := range list.Items {
		if p := &list.Items[i]; p.Spec.Default && p.Name != o.GetName() {
			out = append(out, request(p.Namespace, p.Name))
		}
	}
	return out
}

// SetupWithManager registers the controller.
func (r *PolicyReconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("retentionpolicy").
		For(&v1alpha1.RetentionPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.RetentionPolicy{}, handler.EnqueueRequestsFromMapFunc(r.otherDefaults),
			builder.WithPredicates(defaults.Changes)).
		WithOptions(opts).
		Complete(r)
}
