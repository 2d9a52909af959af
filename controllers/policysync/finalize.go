package policysync

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/retention"
)

// finalize carries out the deletion policy and removes the finalizer. A suspended PolicySync changes nothing, not even
// then.
func (s *reconciling) finalize(ctx context.Context) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(s.obj, v1alpha1.FinalizerPrune) {
		return ctrl.Result{}, nil
	}
	if s.obj.Spec.DeletionPolicy == v1alpha1.DeletionPolicyDelete && !s.obj.Spec.Suspend &&
		s.obj.Status.Inventory != nil {
		if f := s.deleteAll(ctx); f != nil {
			return s.fail(ctx, f), nil
		}
	}
	controllerutil.RemoveFinalizer(s.obj, v1alpha1.FinalizerPrune)
	return ctrl.Result{}, nil
}

func (s *reconciling) deleteAll(ctx context.Context) *fault {
	why, _, err := read.TakenAlong(ctx, s.APIReader, s.obj)
	switch {
	case err != nil:
		return applyFault(ctx, err, nil)
	case why == retention.KindGoes: // nobody has asked for the deletion of anything else
		s.event(corev1.EventTypeWarning, v1alpha1.ReasonDataKept, string(why)+": what was applied stays")
		return nil
	}
	if f := s.readInventory(); f != nil {
		return f
	}
	if why == retention.NamespaceGoes {
		if f := s.keepOutside(); f != nil {
			return f
		}
	}
	a, f := s.applier(ctx)
	if f != nil && (f.reason == v1alpha1.ReasonServiceAccountAbsent ||
		f.reason == v1alpha1.ReasonImpersonationForbidden) {
		// No account is left to act as, for example because the namespace is being deleted, or Cairn is not allowed to:
		// waiting would never end.
		s.event(corev1.EventTypeWarning, f.reason, f.message+"; the applied objects stay")
		return nil
	}
	if f != nil {
		return f
	}
	a.stays = []v1alpha1.ResourceRef{s.self()} // and so does its Namespace, with what others have in it
	all := s.inventory
	pruned, f := a.prune(ctx, all)
	if tooLarge := s.setInventory(pruned.left); tooLarge != nil { // it is smaller than before
		return tooLarge
	}
	if released := len(all) - len(pruned.left); released > 0 || f == nil { // some can have gone, or have another owner
		ctrl.LoggerFrom(ctx).Info("deleted what it owned", "released", released, "left", len(pruned.left))
	}
	if f == nil { // otherwise the next try looks at them again
		for _, k := range pruned.kept {
			s.event(corev1.EventTypeWarning, v1alpha1.ReasonPruneFailed, "not deleted: "+k)
		}
	}
	return f
}

// keepOutside takes what is outside the own namespace, which is being deleted, off the inventory: nobody has asked for
// the deletion of anything else.
func (s *reconciling) keepOutside() *fault {
	var inside []v1alpha1.ResourceRef
	var outside []string
	for _, ref := range s.inventory {
		if id, gvk, err := kindOf(ref); err == nil && id.Namespace == s.obj.Namespace {
			inside = append(inside, ref)
		} else if gvk.Kind != namespaceKind || id.Name != s.obj.Namespace {
			outside = append(outside, describe(ref))
		}
	}
	if len(outside) > 0 {
		s.event(corev1.EventTypeWarning, v1alpha1.ReasonDataKept,
			string(retention.NamespaceGoes)+": what was applied elsewhere stays: "+strings.Join(outside, ", "))
	}
	return s.setInventory(inside)
}
