package sidecar

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// remove removes the sidecar: first the Secret with keys and token, then the container. A manager that was killed
// between the two finds the workload by its label.
func (r *Reconciler) remove(ctx context.Context, l *update) error {
	if err := r.deleteSecret(ctx, l); err != nil {
		return err
	}
	w := l.workload
	u := sidecar.Withdrawal(w.gvk, w.Object)
	err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(sidecar.FieldManager),
		client.ForceOwnership)
	switch {
	case apierrors.IsForbidden(err):
		l.lookAgain(sidecar.RefusedInterval)
		r.Eventf(w.Object, corev1.EventTypeWarning, v1alpha1.ReasonSidecarNotPermitted,
			"no policy asks for the sidecar any more, but Cairn is not allowed to remove it: %v. Bind the "+
				"ClusterRole %s to "+
				"%s until the sidecar is gone",
			err, v1alpha1.SidecarInjectorClusterRole, r.Account)
		return nil
	case apierrors.IsConflict(err): // conflict of the UID: another workload has the name by now, or none
		return nil
	case err != nil:
		return fmt.Errorf("remove sidecar of %s: %w", w.describe(), err)
	}
	l.found = sidecar.Found{}
	logf.FromContext(ctx).Info("removed the sidecar from the workload")
	r.Event(w.Object, corev1.EventTypeNormal, v1alpha1.ReasonSidecarRemoved,
		"removed the sidecar, because no policy asks for it any more: the pods are being replaced")
	return nil
}

// deleteSecret deletes the sidecar's Secret, which invalidates all tokens.
func (r *Reconciler) deleteSecret(ctx context.Context, l *update) error {
	l.state = nil
	if l.secret == nil || !ours(l.secret) {
		return nil
	}
	if err := sweep.Delete(ctx, r.Client, l.secret); err != nil {
		return err
	}
	l.secret = nil
	return nil
}
