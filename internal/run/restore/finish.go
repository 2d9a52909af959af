package restore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/task"
)

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
	case r.Pods > 0:
		r.d.After = 5 * time.Second // Two movers must not write into one volume.
		return true
	}
	r.d.Verify = true
	s.NextRetry, s.Reason = nil, v1alpha1.ReasonRunning
	s.Attempt++
	for name, c := range s.Components {
		if c.Phase == v1alpha1.RestoreSessionFailed {
			again := v1alpha1.RestoredComponent{
				TargetEmpty: c.TargetEmpty, TargetWritten: c.TargetWritten, VolumeUID: c.VolumeUID,
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

// podLost reports whether the work of a sidecar ended because its pod did.
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

// failure returns the reason and message of the first failed component by name, or else of the first unknown one.
func (r *runner) failure() (reason, message string) {
	for _, phase := range []v1alpha1.RestoreSessionPhase{
		v1alpha1.RestoreSessionFailed,
		v1alpha1.RestoreSessionUnknown,
	} {
		for _, name := range slices.Sorted(maps.Keys(r.d.Status.Components)) {
			c := r.d.Status.Components[name]
			if c.Phase != phase {
				continue
			}
			message = cmp.Or(c.Error, "the restore failed")
			if r.d.Status.TotalComponents > 1 {
				message = fmt.Sprintf("component %s: %s", name, message)
			}
			return task.ReasonOfFailure(c.Reason), message
		}
	}
	return v1alpha1.ReasonFailed, "the restore failed"
}

// finish ends a restore according to its components, once its postRestore hooks have ended.
func (r *runner) finish() {
	s := &r.d.Status
	hooks, ended := r.postRestore()
	if !ended || !r.present() {
		return
	}
	done := map[v1alpha1.RestoreSessionPhase]int{}
	var lost lostCounts
	total := 0
	for _, h := range s.Resolved.Hosts {
		for _, v := range h.Volumes {
			c := s.Components[v.Component]
			total++
			done[c.Phase]++
			lost.add(&c)
		}
	}
	succeeded := done[v1alpha1.RestoreSessionSucceeded]
	if succeeded < total || total == 0 {
		phase := v1alpha1.RestoreSessionFailed
		if succeeded+done[v1alpha1.RestoreSessionUnknown] == total && total > 0 {
			phase = v1alpha1.RestoreSessionUnknown
			// As with the stamp: if a postRestore hook failed, or waits for a success, an identical restore must not
			// claim that everything is done.
			r.d.StampMade = ProvisionsClaims(s.Resolved) && !hookround.Has(s.Resolved.Hooks, hookstage.Post)
		}
		if succeeded > 0 {
			run.Partial(&s.Conditions, "some components are restored and some are not: see status.components",
				r.Session.Generation, r.Now)
		}
		reason, message := r.failure()
		end(r.Input, r.d, phase, reason, message)
		return
	}
	// A restore with a failed postRestore hook is not stamped: an identical restore must not claim that everything is
	// done.
	r.d.Stamp = hooks == ""
	if lost != (lostCounts{}) {
		run.Partial(&s.Conditions, r.notRestored(lost), r.Session.Generation, r.Now)
	}
	if hooks != "" {
		end(r.Input, r.d, v1alpha1.RestoreSessionFailed, v1alpha1.ReasonFailedToExecutePostRestoreHooks,
			hookround.Restore.HooksFailedMessage(r.success(), hooks))
		return
	}
	end(r.Input, r.d, v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded, r.success())
}

// success says what was restored, and where.
func (r *runner) success() string {
	resolved := r.d.Status.Resolved
	of := "Snapshot " + resolved.Snapshot
	if r.d.Status.TotalComponents > 1 {
		into := "new PersistentVolumeClaims"
		if r.Session.Spec.Target != nil {
			into = r.Session.Spec.Target.String()
		}
		if resolved.Snapshot == "" && ProvisionsClaims(resolved) {
			return "restored all VolumeSnapshots into " + into
		}
		return fmt.Sprintf("restored all components of %s that were asked for into %s", of, into)
	}
	for _, h := range resolved.Hosts {
		if len(h.Volumes) > 0 {
			v := h.Volumes[0]
			into := "PersistentVolumeClaim " + v.ClaimName
			if !v.Mounted() && r.Session.Spec.Target != nil {
				into = r.Session.Spec.Target.String()
			}
			if v.Provision != nil && resolved.Snapshot == "" {
				return fmt.Sprintf("restored VolumeSnapshot %s into %s", v.Provision.VolumeSnapshot, into)
			}
			return fmt.Sprintf("restored component %s of %s into %s", v.Component, of, into)
		}
	}
	return "restored " + of
}
