package backupsession

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session"
)

// writeStatus writes what was decided, if it is new, and then tells about it. The write fails with a conflict when the
// session is not what the decision was made from: a frozen input is never frozen twice, and an ended session never changes.
func (r *Reconciler) writeStatus(ctx context.Context, s *v1alpha1.BackupSession, d session.Decision) error {
	if equality.Semantic.DeepEqual(s.Status, d.Status) {
		return nil
	}
	before := s.DeepCopy()
	s.Status = d.Status
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(ctx, s, patch, client.FieldOwner(r.FieldManager)); err != nil {
		return fmt.Errorf("write status of backup session %s: %w", s.Name, err)
	}
	r.emit(s, d.Event)
	return nil
}

// adopt gives a new session its finalizers, its labels and, if its invoker exists, its owner.
func (r *Reconciler) adopt(ctx context.Context, s *v1alpha1.BackupSession, invoker client.Object) error {
	before := s.DeepCopy()
	controllerutil.AddFinalizer(s, v1alpha1.FinalizerCancel)
	controllerutil.AddFinalizer(s, v1alpha1.FinalizerRecord)
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[v1alpha1.LabelInvokerKind] = s.Spec.Invoker.Kind
	s.Labels[v1alpha1.LabelInvokerName] = policy.LabelValue(s.Spec.Invoker.Name)
	s.Labels[v1alpha1.LabelSession] = s.Spec.Session
	// A run that something else controls goes when that goes.
	if owner := metav1.GetControllerOf(s); invoker != nil && (owner == nil || owner.Kind == s.Spec.Invoker.Kind && owner.Name == s.Spec.Invoker.Name) {
		if err := controllerutil.SetControllerReference(invoker, s, r.Scheme); err != nil {
			return fmt.Errorf("own backup session %s: %w", s.Name, err)
		}
	}
	return r.patch(ctx, before, s)
}

// release lets an ended session be deleted, as far as this controller is concerned.
func (r *Reconciler) release(ctx context.Context, s *v1alpha1.BackupSession) error {
	before := s.DeepCopy()
	controllerutil.RemoveFinalizer(s, v1alpha1.FinalizerCancel)
	return client.IgnoreNotFound(r.patch(ctx, before, s))
}

// patch writes metadata, if it is new. Status stays what it is in memory.
func (r *Reconciler) patch(ctx context.Context, before, after client.Object) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Patch(ctx, after, patch, client.FieldOwner(r.FieldManager)); err != nil {
		return fmt.Errorf("patch %s: %w", after.GetName(), err)
	}
	return nil
}
