package restoresession

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
)

// writeStatus writes what was decided, if it is new, and then tells about it. The write fails with a conflict when the
// restore is not what the decision was made from: a frozen input is never frozen twice, and an ended restore never changes.
func (r *Reconciler) writeStatus(ctx context.Context, s *v1alpha1.RestoreSession, d session.RestoreDecision) error {
	if equality.Semantic.DeepEqual(s.Status, d.Status) {
		return nil
	}
	before := s.DeepCopy()
	s.Status = d.Status
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(ctx, s, patch, client.FieldOwner(r.FieldManager)); err != nil {
		return fmt.Errorf("write status of restore session %s: %w", s.Name, err)
	}
	if e := d.Event; e != nil {
		r.Event(s, e.Type, e.Reason, e.Message)
	}
	return nil
}

// adopt gives a new restore its finalizers.
func (r *Reconciler) adopt(ctx context.Context, s *v1alpha1.RestoreSession) error {
	before := s.DeepCopy()
	controllerutil.AddFinalizer(s, v1alpha1.FinalizerCancel)
	controllerutil.AddFinalizer(s, v1alpha1.FinalizerRecord)
	return r.patch(ctx, before, s)
}

// release lets an ended restore be deleted, as far as this controller is concerned.
func (r *Reconciler) release(ctx context.Context, s *v1alpha1.RestoreSession) error {
	before := s.DeepCopy()
	controllerutil.RemoveFinalizer(s, v1alpha1.FinalizerCancel)
	return client.IgnoreNotFound(r.patch(ctx, before, s))
}

// writeMovers says which Job may write the component.
func (r *Reconciler) writeMovers(ctx context.Context, s *v1alpha1.RestoreSession, d session.RestoreDecision) error {
	if d.Movers == nil {
		return nil
	}
	before := s.DeepCopy()
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[v1alpha1.AnnotationMovers] = *d.Movers
	return r.patch(ctx, before, s)
}

// stamp marks the claim that was filled, before anybody is told that it was. A claim that was deleted meanwhile, or made
// anew, is left alone.
func (r *Reconciler) stamp(ctx context.Context, s *v1alpha1.RestoreSession) error {
	resolved := s.Status.Resolved
	var claim corev1.PersistentVolumeClaim
	key := client.ObjectKey{Namespace: s.Namespace, Name: resolved.ClaimName}
	if err := r.APIReader.Get(ctx, key, &claim); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("get persistent volume claim %s: %w", key, err)
	}
	if claim.UID != resolved.ClaimUID {
		return nil
	}
	before := claim.DeepCopy()
	if claim.Annotations == nil {
		claim.Annotations = map[string]string{}
	}
	claim.Annotations[v1alpha1.AnnotationRestored] = resolved.SpecDigest
	return r.patch(ctx, before, &claim)
}

// patch writes metadata, if it is new.
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
