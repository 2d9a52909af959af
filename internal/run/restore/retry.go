package restore

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/text"
)

// waitForPods is how long the next attempt waits for the pods of the previous one, counted from its time. A node that
// restarts is back by then.
const waitForPods = 10 * time.Minute

// notTriedAgain ends messages about components whose next attempt could not begin.
const notTriedAgain = "; it was not tried again because a pod of this attempt has not ended: when the node of the " +
	"pod is back or deleted, create the restore again"

// waitsForRetry reports whether the next attempt is still to come. When its time has come and nothing of the previous
// attempt runs any more, the failed components start again.
func (r *runner) waitsForRetry() bool {
	s := &r.d.Status
	switch {
	case s.NextRetry == nil:
		return false
	case r.Session.DeletionTimestamp != nil || r.late():
		return false // Failed components stay failed.
	case r.waitLeft() > 0:
		r.d.After = max(r.waitLeft(), time.Second)
		return true
	case r.Pods > 0: // Two movers must not write into one volume.
		return r.waitsForPods()
	}
	r.d.Verify = true
	s.NextRetry, s.Reason = nil, v1alpha1.ReasonRunning
	s.Attempt++
	for name, c := range s.Components {
		if c.Phase == v1alpha1.RestoreSessionFailed {
			again := v1alpha1.RestoredComponent{
				TargetEmpty: c.TargetEmpty, TargetWritten: c.TargetWritten, VolumeUID: c.VolumeUID,
				UntouchedAttempts: c.UntouchedAttempts,
			}
			if unchanged(c, s.Attempt-1) {
				again.UntouchedAttempts++
			}
			if !ProvisionsClaims(s.Resolved) { // there, the UID means that the claim was made
				again.ClaimUID = c.ClaimUID
			}
			s.Components[name] = again
		}
	}
	run.Progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", r.Session.Generation, r.Now)
	if run.RestoredBySidecars(r.Session) {
		// A sidecar reads from the status what is left to do, so the outcome of the previous attempt must be gone from
		// it first.
		r.d.After = time.Second
		return true
	}
	return false
}

// waitLeft returns how long the next attempt is still to come.
func (r *runner) waitLeft() time.Duration {
	delay := ptr.Deref(r.Session.Spec.RetryConfig, v1alpha1.RetryConfig{}).Delay.Duration
	return run.Left(r.d.Status.NextRetry.Time, delay, r.Now)
}

// waitsForPods reports whether the next attempt still waits for the pods of the previous one. If they do not end, for
// example on a node that died, there is no other attempt, and the failed components say so. As long as such a pod is
// there, no other restore writes into its volumes either.
func (r *runner) waitsForPods() bool {
	s := &r.d.Status
	if s.NextRetry.After(r.Now) { // a clock that was ahead has written it
		s.NextRetry = new(metav1.NewTime(r.Now).Rfc3339Copy())
	}
	if left := s.NextRetry.Add(waitForPods).Sub(r.Now); left > 0 {
		r.d.After = min(left, 5*time.Second)
		return true
	}
	r.d.Verify = true
	for name, c := range s.Components {
		if c.Phase == v1alpha1.RestoreSessionFailed && !strings.HasSuffix(c.Error, notTriedAgain) {
			c.Error = text.Cut(c.Error, text.MaxMessage-len(notTriedAgain)) + notTriedAgain
			s.Components[name] = c
		}
	}
	return false
}

// retry plans another attempt at the failed components, if one is allowed. One attempt that only hands empty volumes to
// the mover's group is not counted. Neither is the first attempt after the pod of a sidecar was lost, because a rollout
// of the workload is enough for that.
func (r *runner) retry() bool {
	s, config := &r.d.Status, r.Session.Spec.RetryConfig
	if r.Session.DeletionTimestamp != nil || s.NextRetry != nil {
		return false
	}
	failed, group, lost := 0, true, true
	for _, c := range s.Components {
		if c.Phase != v1alpha1.RestoreSessionFailed {
			continue
		}
		failed++
		if !worthRestoringAgain(c.Reason) || c.Reason == v1alpha1.ReasonNodeLost && run.RestoredBySidecars(r.Session) {
			return false
		}
		group = group && c.TargetEmpty && c.Reason == v1alpha1.ReasonTargetUnwritable
		lost = lost && podLost(c.Reason)
	}
	sidecars := run.RestoredBySidecars(r.Session)
	free := s.Attempt == s.Retried+1
	group, lost = group && !sidecars && free, lost && sidecars && free
	var delay time.Duration
	switch {
	case failed == 0:
		return false
	case group, lost:
	case config == nil || s.Retried >= config.MaxRetry:
		return false
	default:
		delay = config.Delay.Duration
		s.Retried++
	}
	at := metav1.NewTime(r.Now.Add(delay)).Rfc3339Copy()
	if s.RestoreDeadline != nil && !at.Before(s.RestoreDeadline) {
		return false
	}
	s.NextRetry, s.Reason = &at, v1alpha1.ReasonRetrying
	_, message := r.failure()
	message = "the restore will be tried again: " + message
	run.Progress(&s.Conditions, v1alpha1.ReasonRetrying, message, r.Session.Generation, r.Now)
	r.d.Event = &run.Event{Type: corev1.EventTypeWarning, Reason: v1alpha1.ReasonRetrying, Message: message}
	none := ""
	r.d.Movers, r.d.After = &none, max(delay, time.Second)
	return true
}

// tellInterruption gives the components of a host whose mover was told to stop the reason why its pod was ended from
// outside, and reports whether there are any. A mover can't know that reason and reports Cancelled, which is right only
// if the restore ends. The components stay failed meanwhile: their mover is not allowed to report any more, and a pod
// that a resumed Job makes would not know what the one before has written.
func (r *runner) tellInterruption(h *v1alpha1.ResolvedRestoreHost, job run.Job) bool {
	fromOutside := podLost(job.Reason) || job.Reason == v1alpha1.ReasonNodeLost
	if job.Sidecar || job.State != observe.StateFailed || !fromOutside || r.stopReason() != "" {
		return false
	}
	found := false
	for _, v := range h.Volumes {
		c := r.d.Status.Components[v.Component]
		if c.Phase != v1alpha1.RestoreSessionFailed || c.Reason != v1alpha1.ReasonCancelled {
			continue
		}
		c.Reason, c.Error, found = job.Reason, text.Shorten(job.Message+maybePartly), true
		r.d.Status.Components[v.Component] = c
	}
	return found
}

// podLost reports whether the work of a mover ended because its pod did.
func podLost(reason string) bool {
	return reason == v1alpha1.ReasonPodDeleted || reason == v1alpha1.ReasonEvicted
}

// worthRestoringAgain reports whether another attempt can fix a failure with this reason.
func worthRestoringAgain(reason string) bool {
	switch reason {
	case v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonCancelled, v1alpha1.ReasonInvalidTask,
		v1alpha1.ReasonVolumeNotEmpty,
		v1alpha1.ReasonSnapshotNotFound, v1alpha1.ReasonComponentNotFound, v1alpha1.ReasonSnapshotDamaged,
		v1alpha1.ReasonTargetNotFound, v1alpha1.ReasonConfirmationWrong, v1alpha1.ReasonConfirmationMissing,
		v1alpha1.ReasonConfirmationUsed,
		// The patterns leave nothing of a Snapshot that stays as it is.
		v1alpha1.ReasonEmpty,
		// The file system of the target ignores case.
		v1alpha1.ReasonFileNamesCollide,
		// Another attempt could keep the very files that differ, compare nothing and succeed.
		v1alpha1.ReasonVerificationFailed,
		v1alpha1.ReasonPrivilegeRequired, v1alpha1.ReasonRestoreInProgress, v1alpha1.ReasonNameConflict,
		v1alpha1.ReasonVolumeSnapshotNotFound,
		v1alpha1.ReasonFailedToExecutePreRestoreHooks:
		return false
	default:
		return true
	}
}
