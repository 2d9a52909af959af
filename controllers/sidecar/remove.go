package sidecar

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// remove takes the sidecar away: first the keys and the token, which go with the Secret, then the container. Killed between the
// two, it finds the workload by its label.
func (r *Reconciler) remove(ctx context.Context, l *looking) error {
	if err := r.forget(ctx, l); err != nil {
		return err
	}
	w := l.workload
	u := sidecar.Withdrawal(w.gvk, w.Object)
	err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(sidecar.FieldManager), client.ForceOwnership)
	switch {
	case apierrors.IsForbidden(err):
		l.lookAgain(refusedInterval)
		r.Eventf(w.Object, corev1.EventTypeWarning, v1alpha1.ReasonSidecarNotPermitted,
			"no policy asks for the sidecar any more, and Cairn may not remove it: %v. Bind the ClusterRole %s to %s until it is gone",
			err, v1alpha1.SidecarInjectorClusterRole, r.Account)
		return nil
	case apierrors.IsConflict(err): // its UID: it is another workload by now, or gone
		return nil
	case err != nil:
		return fmt.Errorf("remove the sidecar of %s: %w", w.describe(), err)
	}
	r.Event(w.Object, corev1.EventTypeNormal, v1alpha1.ReasonSidecarRemoved, "no policy asks for the sidecar any more: it was removed, the pods are replaced")
	return nil
}

// forget deletes the sidecar's Secret, and all tokens with it.
func (r *Reconciler) forget(ctx context.Context, l *looking) error {
	l.state = nil
	if l.secret == nil || !ours(l.secret) {
		return nil
	}
	err := r.Delete(ctx, l.secret, client.Preconditions{UID: &l.secret.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Secret %s: %w", client.ObjectKeyFromObject(l.secret), err)
	}
	l.secret = nil
	return nil
}
