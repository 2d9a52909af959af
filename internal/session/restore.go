package session

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// RestoreInput is everything that the next step of a restore depends on.
type RestoreInput struct {
	// Now is the time of the decision.
	Now time.Time
	// Session is the restore. It is not changed.
	Session *v1alpha1.RestoreSession
	// Start is what was found out about a restore that is not frozen yet; nil for one that is.
	Start *RestoreStart
	// Refused says why its Job can't be made any more.
	Refused *v1alpha1.ResolvedError
	// Job of the restore; nil when there is none.
	Job *Job
	// Pods is the number of the restore's pods that have not ended.
	Pods int
}

// RestoreStart is what was found out about a restore before it is frozen.
type RestoreStart struct {
	// Since is when the restore was first seen.
	Since time.Time
	// TargetFound says whether the claim exists.
	TargetFound bool
	// AlreadyRestored says that the claim carries this restore's digest.
	AlreadyRestored bool
	// Resolved restore; it means nothing when Error is set.
	Resolved v1alpha1.ResolvedRestore
	// Error that keeps it from being started.
	Error *v1alpha1.ResolvedError
	// Wait is how long Error may still go away by itself, counted from Since.
	Wait time.Duration
	// Timeout of the restore.
	Timeout time.Duration
}

// RestoreDecision is the next step of a restore. The caller carries it out in this order: Movers, Delete, Create, Stamp,
// Status. Each part can be repeated.
type RestoreDecision struct {
	// Status that the restore must have.
	Status v1alpha1.RestoreSessionStatus
	// Movers is the value that AnnotationMovers must have. Nil: as it is.
	Movers *string
	// Delete asks for the deletion of the Job.
	Delete bool
	// Create asks for the Job.
	Create bool
	// Stamp asks for AnnotationRestored on the claim, so that an equal restore does not write into it again.
	Stamp bool
	// Verify says that the mover is given up: see Decision.Verify.
	Verify bool
	// Event to be emitted once Status was written. Nil: nothing happened that anybody must know.
	Event *Event
	// After is when to ask again if nothing else happens. Zero: not at all.
	After time.Duration
}

// NextRestore is the next step of a restore. One that ended has none: its status comes back as it is.
func NextRestore(in RestoreInput) RestoreDecision {
	d := RestoreDecision{Status: *in.Session.Status.DeepCopy()}
	switch {
	case in.Session.Status.Phase.Terminal():
		return d
	case in.Session.Status.Resolved == nil:
		startRestore(in, &d)
	default:
		runRestore(in, &d)
	}
	return d
}

// startRestore decides whether a restore waits, ends at once, or is frozen.
func startRestore(in RestoreInput, d *RestoreDecision) {
	d.Status.ObservedGeneration = in.Session.Generation
	s := in.Start
	if in.Session.DeletionTimestamp != nil {
		endRestore(in, d, v1alpha1.RestoreSessionFailed, v1alpha1.ReasonCancelled, "deleted before it started")
		return
	}
	d.Status.TargetFound = &s.TargetFound
	until := s.Since.Add(s.Wait)
	switch {
	case s.AlreadyRestored:
		endRestore(in, d, v1alpha1.RestoreSessionSkipped, v1alpha1.ReasonAlreadyRestored, "the target was filled by an equal restore before")
	case s.Error != nil && in.Now.Before(until):
		d.Status.Phase, d.Status.Reason = v1alpha1.RestoreSessionPending, s.Error.Reason
		message := "waiting: " + s.Error.Message
		d.Event = waiting(d.Status.Conditions, s.Error.Reason, message)
		progress(&d.Status.Conditions, s.Error.Reason, message, in.Session.Generation, in.Now)
		d.After = min(max(until.Sub(in.Now), time.Second), pollInterval)
	case s.Error != nil:
		endRestore(in, d, phaseOfRefusal(s.Error.Reason), s.Error.Reason, s.Error.Message)
	default:
		freezeRestore(in, d)
	}
}

// phaseOfRefusal tells a restore that can't work as it is written, which is Invalid, from one that the state of the
// cluster did not allow, which has Failed.
func phaseOfRefusal(reason string) v1alpha1.RestoreSessionPhase {
	switch reason {
	case v1alpha1.ReasonVolumeInUse, v1alpha1.ReasonVolumeNotBound, v1alpha1.ReasonRestoreInProgress,
		v1alpha1.ReasonRepositoryNotReady, v1alpha1.ReasonStorageNotAllowed, v1alpha1.ReasonStorageNotFound:
		return v1alpha1.RestoreSessionFailed
	default:
		return v1alpha1.RestoreSessionInvalid
	}
}

func freezeRestore(in RestoreInput, d *RestoreDecision) {
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	timeout := cmp.Or(in.Start.Timeout, DefaultTimeout)
	deadline := metav1.NewTime(now.Add(timeout))
	resolved := in.Start.Resolved.DeepCopy()
	resolved.Timeout = &metav1.Duration{Duration: timeout}
	s := &d.Status
	s.Resolved, s.StartTime, s.RestoreDeadline, s.TotalComponents = resolved, &now, &deadline, 1
	s.Phase, s.Reason = v1alpha1.RestoreSessionRunning, v1alpha1.ReasonRunning
	set(&s.Conditions, v1alpha1.ConditionValidationPassed, metav1.ConditionTrue, v1alpha1.ReasonResourceValidationPassed, "the restore can be done", in.Session.Generation, in.Now)
	progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", in.Session.Generation, in.Now)
	d.Event = &Event{Type: corev1.EventTypeNormal, Reason: ReasonStarted, Message: "the restore has started"}
}

// runRestore is one look at a frozen restore.
func runRestore(in RestoreInput, d *RestoreDecision) {
	d.Status.ObservedGeneration = in.Session.Generation
	name := d.Status.Resolved.Component
	if d.Status.Components == nil {
		d.Status.Components = map[string]v1alpha1.RestoredComponent{}
	}
	movers := FormatMovers(map[string]string{name: task.RestoreJobName(in.Session.Name, name)})
	d.Movers = &movers
	c := d.Status.Components[name]
	if !c.Phase.Terminal() {
		c = restoreComponent(in, d, c)
	}
	if c.Phase != "" {
		d.Status.Components[name] = c
	}
	switch {
	case !c.Phase.Terminal():
		d.After = sooner(d.After, max(d.Status.RestoreDeadline.Sub(in.Now), time.Second))
	case c.Phase == v1alpha1.RestoreSessionSucceeded && in.Job != nil && !in.Job.Finished && in.Now.Before(d.Status.RestoreDeadline.Time):
		// The volume is in use until the pod has ended; who waits for the restore wants to mount it.
		d.After = max(d.Status.RestoreDeadline.Sub(in.Now), time.Second)
	default:
		finishRestore(in, d, c)
	}
}

// restoreComponent is the only component after this step, and asks for the Job or for its end.
func restoreComponent(in RestoreInput, d *RestoreDecision, c v1alpha1.RestoredComponent) v1alpha1.RestoredComponent {
	late := !in.Now.Before(d.Status.RestoreDeadline.Time)
	deleted := in.Session.DeletionTimestamp
	ended := in.Job != nil && (in.Job.State == task.StateSucceeded || in.Job.State == task.StateFailed)
	switch {
	case in.Job != nil && in.Job.Result != nil:
		return reported(in.Job.Result, d.Status.Resolved)
	case ended:
		d.Delete = !in.Job.Finished
		message := cmp.Or(in.Job.Message, "the mover ended without saying how") + "; the target may hold a part of the data"
		reason := in.Job.Reason
		if in.Job.State == task.StateSucceeded || reason == "" {
			reason = v1alpha1.ReasonJobFailed
		}
		return failRestored(c, d, reason, message)
	case deleted != nil:
		gone := in.Job == nil && in.Pods == 0
		if until := deleted.Add(WaitForPods); !gone && in.Now.Before(until) {
			d.Delete = in.Job != nil
			d.After = min(until.Sub(in.Now), 5*time.Second)
			return c
		}
		return failRestored(c, d, v1alpha1.ReasonCancelled, "the RestoreSession was deleted; the target may hold a part of the data")
	case late:
		d.Delete = in.Job != nil
		return failRestored(c, d, v1alpha1.ReasonDeadlineExceeded, "the deadline of the restore passed; the target may hold a part of the data")
	case in.Job != nil:
		if c.Phase == "" {
			c.Phase, c.ID = v1alpha1.RestoreSessionPending, d.Status.Resolved.ID
		}
		d.After = in.Job.Recheck
		return c
	case in.Refused != nil:
		return failRestored(c, d, in.Refused.Reason, in.Refused.Message)
	case c.Phase != "":
		return failRestored(c, d, v1alpha1.ReasonJobVanished, "the Job was deleted before it ended; the target may hold a part of the data")
	default:
		d.Create = true
		return c
	}
}

// failRestored gives a component up: its mover may not write any more.
func failRestored(c v1alpha1.RestoredComponent, d *RestoreDecision, reason, message string) v1alpha1.RestoredComponent {
	none := ""
	d.Movers, d.Verify = &none, true
	c.Phase, c.ID, c.Progress = v1alpha1.RestoreSessionFailed, d.Status.Resolved.ID, nil
	c.Reason, c.Error = reason, shorten(message)
	return c
}

// reported is the component as the mover's Result has it.
func reported(result *task.Result, r *v1alpha1.ResolvedRestore) v1alpha1.RestoredComponent {
	for _, c := range result.Components {
		if c.Name != r.Component {
			continue
		}
		out := c.Restored()
		out.ID = r.ID
		if out.Phase == v1alpha1.RestoreSessionFailed {
			out.Reason = cmp.Or(out.Reason, result.Reason, v1alpha1.ReasonFailed)
			out.Error = cmp.Or(out.Error, result.Message)
		}
		return out
	}
	return v1alpha1.RestoredComponent{
		Phase: v1alpha1.RestoreSessionFailed, ID: r.ID,
		Reason: cmp.Or(failure(result), v1alpha1.ReasonJobFailed),
		Error:  cmp.Or(result.Message, "the mover said nothing about the component"),
	}
}

// finishRestore ends a restore as its component ended.
func finishRestore(in RestoreInput, d *RestoreDecision, c v1alpha1.RestoredComponent) {
	if c.Phase != v1alpha1.RestoreSessionSucceeded {
		endRestore(in, d, v1alpha1.RestoreSessionFailed, cmp.Or(c.Reason, v1alpha1.ReasonFailed), cmp.Or(c.Error, "the restore failed"))
		return
	}
	d.Stamp = true
	if c.OwnersNotRestored > 0 || c.AttributesNotRestored > 0 {
		partial(&d.Status.Conditions, fmt.Sprintf(
			"all data is restored, but the owners of %d entries and other attributes of %d entries could not be set: restore as root for that (jobTemplate runAsUser 0, in a Namespace with the annotation %s)",
			c.OwnersNotRestored, c.AttributesNotRestored, v1alpha1.AnnotationPrivilegedMovers), in.Session.Generation, in.Now)
	}
	r := d.Status.Resolved
	endRestore(in, d, v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded,
		fmt.Sprintf("restored component %s of Snapshot %s into PersistentVolumeClaim %s", r.Component, r.Snapshot, r.ClaimName))
}

// endRestore ends a restore for good. One that was skipped ended well: its target holds what was asked for.
func endRestore(in RestoreInput, d *RestoreDecision, phase v1alpha1.RestoreSessionPhase, reason, message string) {
	s := &d.Status
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s.Phase, s.Reason, s.CompletionTime = phase, reason, &now
	if s.StartTime != nil {
		s.Duration = FormatDuration(now.Sub(s.StartTime.Time))
	}
	if phase == v1alpha1.RestoreSessionInvalid {
		set(&s.Conditions, v1alpha1.ConditionValidationPassed, metav1.ConditionFalse, reason, message, in.Session.Generation, in.Now)
	}
	ok := phase == v1alpha1.RestoreSessionSucceeded || phase == v1alpha1.RestoreSessionSkipped
	conclude(&s.Conditions, ok, reason, message, in.Session.Generation, in.Now)
	d.After = 0
	d.Event = &Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message}
	if !ok {
		d.Event.Type = corev1.EventTypeWarning
	}
}
