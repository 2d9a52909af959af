package retention

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// notice is how long a new or changed default RetentionPolicy removes nothing from a Repository: whoever made the
// backups may not know that somebody created a default.
const notice = 24 * time.Hour

// introduce writes to the status which default is in force. A default that is new to the Repository in its current
// form, and that lets Snapshots go, is held: nothing is removed before the status shows the date of the removal. So
// even a killed manager removes nothing without notice.
func (r *Reconciler) introduce(s *state) {
	status := &s.repository.Status
	if !s.isDefault || s.refusal != nil {
		status.DefaultRetention = nil
		return
	}
	known := status.DefaultRetention
	if known == nil || known.Ref != *s.ref || known.UID != s.spec.UID || known.Generation != s.spec.Generation {
		known = &v1alpha1.DefaultRetention{Ref: *s.ref, UID: s.spec.UID, Generation: s.spec.Generation}
		if slices.ContainsFunc(s.verdicts, retention.Verdict.Goes) {
			known.RemovesAfter = new(metav1.NewTime(r.Clock.Now().Add(notice)))
		}
		status.DefaultRetention = known
	}
	s.held = known.RemovesAfter != nil && r.Clock.Now().Before(known.RemovesAfter.Time)
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

// heldMessage says what will happen, and how to change that.
func heldMessage(ref v1alpha1.ObjectReference) string {
	return fmt.Sprintf("policy names no RetentionPolicy, and the default, %s, is new or has changed and lets existing "+
		"Snapshots go. "+
		"They are removed after status.defaultRetention.removesAfter. Name a RetentionPolicy in "+
		"spec.backends[].retentionPolicy "+
		"to use another policy, or to apply this one at once", refName(ref))
}
