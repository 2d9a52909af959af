package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/runtime/conditions"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
)

// removedLater begins the message of a wait for whoever uses the data.
const removedLater = "the data is removed later: "

// wait is what the removal of a Snapshot's data waits for.
type wait struct {
	reason string
	// cause says in Cairn's words which object waits for what. words follow it: those of a driver or an API server can
	// differ at each look.
	cause, words string
	// warns reports that a person has to act.
	warns bool
}

// inUse is a wait for whoever uses the data.
func inUse(user string) wait { return wait{reason: v1alpha1.ReasonInUse, cause: removedLater + user} }

// markWaiting writes to a Snapshot why its data is not gone yet. Another cause is written at once, and is an event if
// it warns. New words for the same cause are written after a while: see status.OldWords.
func (r *Reconciler) markWaiting(ctx context.Context, s *v1alpha1.Snapshot, w wait) error {
	before, message := s.DeepCopy(), w.cause+w.words
	if w.warns {
		message += retention.HowToGiveUp(s)
	}
	is := conditions.Get(s, v1alpha1.ConditionWiped)
	known := is != nil && is.Reason == w.reason && strings.HasPrefix(is.Message, w.cause)
	if !known || status.OldWords(is, r.Clock.Now()) {
		conditions.MarkFalse(s, v1alpha1.ConditionWiped, w.reason, "%s", message)
	}
	var event *run.Event
	if w.warns && !known {
		event = &run.Event{Type: corev1.EventTypeWarning, Reason: w.reason, Message: message}
	}
	return client.IgnoreNotFound(r.writer().Announce(ctx, before, s, event))
}

// notDeleted writes to the Snapshot that the deletion of a VolumeSnapshot or content failed, and returns the error. A
// conflict is decided again.
func (r *Reconciler) notDeleted(ctx context.Context, s *v1alpha1.Snapshot, reason string, err error) error {
	if apierrors.IsConflict(err) {
		return err
	}
	return cmp.Or(r.markWaiting(ctx, s, refusal(reason, err)), err)
}

// refusal is a wait for an API server that refuses a write. Cairn's words about the object precede the first ": ".
func refusal(reason string, err error) wait {
	w := wait{reason: reason, cause: err.Error(), warns: true}
	if what, words, ok := strings.Cut(err.Error(), ": "); ok {
		w.cause, w.words = what+": ", words
	}
	return w
}

// stuck returns why a VolumeSnapshot that is being deleted still exists.
func (r *Reconciler) stuck(ctx context.Context, v *snapshotv1.VolumeSnapshot) (wait, error) {
	content, err := read.BoundContent(ctx, r.APIReader, v)
	if err != nil {
		return wait{}, err
	}
	w := wait{
		cause: fmt.Sprintf("VolumeSnapshot %s keeps terminating: the snapshot controller does not finish, or another "+
			"finalizer holds it", v.Name),
		warns: true,
	}
	if content != nil {
		w = keepsTerminating("VolumeSnapshot "+v.Name, content)
	}
	w.reason = v1alpha1.ReasonVolumeSnapshotNotDeleted
	return w, nil
}

// keepsTerminating words why an object still exists that goes with a content, or the content itself.
func keepsTerminating(what string, content *snapshotv1.VolumeSnapshotContent) wait {
	w := wait{warns: true}
	if e := content.Status; e != nil && e.Error != nil && e.Error.Message != nil {
		w.cause = fmt.Sprintf("%s keeps terminating: the CSI driver %s reports: ", what, content.Spec.Driver)
		w.words = *e.Error.Message
	} else {
		w.cause = fmt.Sprintf("%s keeps terminating: the snapshot controller or the CSI driver %s does not finish",
			what, content.Spec.Driver)
	}
	return w
}
