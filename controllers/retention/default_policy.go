package retention

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// introduce writes to the status which default is in force. It looks at the clock also while nothing is removed: only a
// look before a jump and one after it show the jump.
func (r *Reconciler) introduce(ctx context.Context, s *state) error {
	clocks := r.look()
	status := &s.repository.Status
	former := retention.Followed(status)
	switch {
	case s.ref == nil || s.refusal != nil: // the next default is measured by the last
		status.DefaultRetention, status.FormerDefault = nil, former
		return nil
	case !s.isDefault: // the owner of the backups has chosen
		status.DefaultRetention, status.FormerDefault = nil, nil
		return nil
	case !retention.Replaces(s.spec, former):
		status.DefaultRetention, status.FormerDefault, s.replaced = nil, former, former
		return nil
	}
	status.FormerDefault = nil
	clocks.Noted(status.DefaultRetention)
	clocks.Wrote(s.repository.CreationTimestamp.Time)
	clocks.Wrote(s.spec.CreationTimestamp.Time)
	for _, snapshot := range s.snapshots {
		clocks.Wrote(snapshot.CreationTimestamp.Time)
	}
	var err error
	status.DefaultRetention, s.held, err = retention.Introduce(status.DefaultRetention, *s.ref, s.spec, s.letsGo,
		clocks.Now, func() (string, error) {
			var err error
			if clocks.Server, err = r.ServerTime(ctx); err == nil {
				s.doubt = clocks.Doubt()
			}
			return s.doubt, err
		})
	return err
}

// announce emits one event for a default that came or went.
func (r *Reconciler) announce(before, after *v1alpha1.Repository) {
	was, is := before.Status.DefaultRetention, after.Status.DefaultRetention
	switch {
	case is == nil && was == nil, is != nil && was != nil && was.UID == is.UID && was.Generation == is.Generation:
	case is == nil && after.Status.RetentionPolicy == nil:
		r.Event(after, corev1.EventTypeNormal, v1alpha1.ReasonDefaultRetention,
			fmt.Sprintf("RetentionPolicy %s is no longer the default: everything is kept", refName(was.Ref)))
	case is == nil:
	case is.RemovesAfter != nil:
		r.Event(after, corev1.EventTypeWarning, v1alpha1.ReasonDefaultRetention, heldMessage(is.Ref))
	default:
		r.Event(after, corev1.EventTypeNormal, v1alpha1.ReasonDefaultRetention,
			fmt.Sprintf("policy names no RetentionPolicy, and the default is %s", refName(is.Ref)))
	}
}

// replacedMessage says how to let another default in.
func replacedMessage(former v1alpha1.FormerDefault, ref v1alpha1.ObjectReference) string {
	return fmt.Sprintf("nothing is removed: the default was RetentionPolicy %s, and %s is another one. Bring the "+
		"former back, name a RetentionPolicy in spec.backends[].retentionPolicy, or let the new one in: kubectl "+
		"annotate retentionpolicy -n %s %s %s=%s", refName(former.Ref), refName(ref), ref.Namespace, ref.Name,
		v1alpha1.AnnotationReplacesDefault, former.UID)
}

// heldMessage says what will happen, and how to change that.
func heldMessage(ref v1alpha1.ObjectReference) string {
	return fmt.Sprintf("policy names no RetentionPolicy. The default %s is new or has changed, and removes existing "+
		"Snapshots after status.defaultRetention.removesAfter. Name a RetentionPolicy in "+
		"spec.backends[].retentionPolicy to use another one, or to apply this one at once", refName(ref))
}
