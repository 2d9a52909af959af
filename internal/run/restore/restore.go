// Package restore decides what a RestoreSession does next: Next turns an observation into a Decision. It is pure: it
// reads no clock and keeps no state. Invariants: the outcome of a restore that has ended never changes; each decision
// can be repeated.
package restore

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/decision"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/text"
)

// Input is everything that the next step of a restore depends on.
type Input struct {
	// Now is the time of the decision.
	Now time.Time
	// Session is the restore. Next does not change it.
	Session *v1alpha1.RestoreSession
	// Start is what was found out about a restore that is not frozen yet. It is nil for a frozen restore.
	Start *Start
	// Refused explains, by the name of the host, why its Job can no longer be made, or not for now: see run.CanPass. As
	// StampRefused and ReleaseRefused it explains why Stamp or StampMade, and Release, can't be carried out.
	Refused map[string]*v1alpha1.ResolvedError
	// Jobs holds the existing Jobs of the restore, by name.
	Jobs map[string]run.Job
	// Pods is the number of mover pods of the restore that have not ended.
	Pods int
	// Claims holds the present state of the claims that the restore makes from VolumeSnapshots, by name. It is read
	// only where a Job of the restore has ended.
	Claims map[string]ObservedClaim
	// NoClass holds the StorageClasses that do not exist, by the names of the claims that wait for a volume of them. It
	// is read only where the pod of a Job finds no node.
	NoClass map[string]string
	// Present holds the claims of the namespace that can be used, by name. Nil means that they were not read;
	// Decision.Look asks for them.
	Present map[string]PresentClaim
	// Hooks returns how attempts of the restore's hooks ended. It is called only where the restore has hooks.
	Hooks hookstage.Results
}

// Start is what was found out about a restore before it is frozen.
type Start struct {
	// Since is when the restore was first seen.
	Since time.Time
	// TargetFound reports whether the target exists.
	TargetFound bool
	// AlreadyRestored means that the target has the stamp of an identical restore.
	AlreadyRestored bool
	// Unbound explains which claims of an identical earlier restore still wait for their first consumer pod. It is ""
	// where there are none.
	Unbound string
	// Resolved is the resolved restore. It has no meaning when Error is set.
	Resolved v1alpha1.ResolvedRestore
	// Dependencies are the objects that were looked for.
	Dependencies []v1alpha1.ResourceFoundStatus
	// PausedBackups are the policies that back up the target.
	PausedBackups []v1alpha1.TypedObjectReference
	// PassedOver is a damaged Snapshot that is newer than the one that was taken for the latest, or nil.
	PassedOver *v1alpha1.Snapshot
	// HoldsLess says which Snapshots hold more of the target than the one that was taken for the latest: see the
	// function HoldsLess.
	HoldsLess string
	// Error explains why the restore can't start.
	Error *v1alpha1.ResolvedError
	// Wait is how long Error can still go away by itself, counted from Since.
	Wait time.Duration
	// Timeout is the timeout of the restore; 0 means that it has none.
	Timeout time.Duration
}

// Decision is the next step of a restore. The caller carries it out in this order: Movers, Create, Stamp,
// StampMade, Release, Delete, Status; deletions: see Base.Thaws. Each part can be repeated.
type Decision struct {
	decision.Base

	// Status is the status that the restore must have.
	Status v1alpha1.RestoreSessionStatus
	// Movers is the value that AnnotationMovers must have. Nil leaves it unchanged.
	Movers *string
	// Delete names the Jobs that must be deleted.
	Delete []string
	// Create holds the indexes in Status.Resolved.Hosts of the hosts whose Jobs must be made.
	Create []int
	// Stamp asks for AnnotationRestored on the target, so that an identical restore does not write into it again.
	Stamp bool
	// StampMade asks for AnnotationMade on the claims that were made and have no volumes yet, so that an identical
	// restore recognises them.
	StampMade bool
	// Release means that the restore has ended and releases its claims.
	Release bool
}

// StampRefused and ReleaseRefused are no names of hosts: see Input.Refused.
const (
	StampRefused   = "/stamp"
	ReleaseRefused = "/release"
)

// Marks returns the names that refusals of the marks of a decision have in Input.Refused.
func (d *Decision) Marks() (names []string) {
	if d.Stamp || d.StampMade {
		names = append(names, StampRefused)
	}
	if d.Release {
		names = append(names, ReleaseRefused)
	}
	return names
}

// Next returns the next step of a restore. For a restore that has ended it returns the status unchanged.
func Next(in Input) Decision {
	d := Decision{Status: *in.Session.Status.DeepCopy()}
	switch {
	case in.Session.Status.Phase.Terminal():
		return d
	case in.Session.Status.Resolved == nil:
		start(in, &d)
	default:
		advance(in, &d)
	}
	return d
}

// start decides whether a restore waits, ends at once, or is frozen.
func start(in Input, d *Decision) {
	d.Status.ObservedGeneration = in.Session.Generation
	s := in.Start
	if in.Session.DeletionTimestamp != nil {
		end(in, d, v1alpha1.RestoreSessionFailed, v1alpha1.ReasonCancelled, "deleted before it started")
		return
	}
	d.Status.TargetFound, d.Status.Dependencies = &s.TargetFound, s.Dependencies
	until := s.Since.Add(s.Wait)
	switch {
	case s.AlreadyRestored:
		end(in, d, v1alpha1.RestoreSessionSkipped, v1alpha1.ReasonAlreadyRestored,
			AlreadyRestoredMessage("restore", "target"))
	case s.Unbound != "":
		end(in, d, v1alpha1.RestoreSessionUnknown, v1alpha1.ReasonVolumeNotBound, s.Unbound)
	case s.Error != nil && in.Now.Before(until):
		d.Status.Phase, d.Status.Reason = v1alpha1.RestoreSessionPending, s.Error.Reason
		d.Event = run.Wait(&d.Status.Conditions, s.Error.Reason, run.Waiting(s.Error.Message), in.Session.Generation,
			in.Now)
		d.After = min(max(until.Sub(in.Now), time.Second), run.PollInterval)
	case s.Error != nil:
		end(in, d, PhaseOfRefusal(s.Error.Reason), s.Error.Reason, s.Error.Message)
	default:
		freeze(in, d)
	}
}

// PhaseOfRefusal returns Invalid for a restore that can't work as it is written, and Failed for one that the state of
// the cluster does not allow.
func PhaseOfRefusal(reason string) v1alpha1.RestoreSessionPhase {
	switch reason {
	case v1alpha1.ReasonTargetNotReady, v1alpha1.ReasonVolumeInUse, v1alpha1.ReasonVolumeNotBound,
		v1alpha1.ReasonRestoreInProgress,
		v1alpha1.ReasonWrongPassword, v1alpha1.ReasonPasswordChanged, v1alpha1.ReasonEncryptionSecretNotAvailable,
		v1alpha1.ReasonRepositoryNotReady, v1alpha1.ReasonStorageNotAllowed, v1alpha1.ReasonStorageNotFound,
		v1alpha1.ReasonDirectoryNotAllowed,
		v1alpha1.ReasonBackendSecretNotAvailable,
		v1alpha1.ReasonRestoreNotAllowed, v1alpha1.ReasonNameConflict, v1alpha1.ReasonVolumeSnapshotNotReady,
		v1alpha1.ReasonVolumeSnapshotsNotSupported, v1alpha1.ReasonCreationRefused:
		return v1alpha1.RestoreSessionFailed
	default:
		return v1alpha1.RestoreSessionInvalid
	}
}

func freeze(in Input, d *Decision) {
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s, resolved := &d.Status, in.Start.Resolved.DeepCopy()
	resolved.Timeout, s.RestoreDeadline = run.Bounds(in.Start.Timeout, now)
	s.Resolved, s.StartTime, s.Attempt = resolved, &now, 1
	s.PausedBackups, s.TotalComponents = in.Start.PausedBackups, 0
	for _, h := range resolved.Hosts {
		s.TotalComponents += int32(len(h.Volumes))
	}
	s.Phase, s.Reason = v1alpha1.RestoreSessionRunning, v1alpha1.ReasonRunning
	run.Set(&s.Conditions, v1alpha1.ConditionValidationPassed, metav1.ConditionTrue,
		v1alpha1.ReasonResourceValidationPassed, "the restore can be done", in.Session.Generation, in.Now)
	run.Progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", in.Session.Generation, in.Now)
	d.Event = &run.Event{Type: corev1.EventTypeNormal, Reason: run.ReasonStarted, Message: "the restore has started"}
	less := in.Start.HoldsLess
	if less != "" {
		less += ". If you miss that, create another restore that names that Snapshot in dataSource.snapshot"
	}
	run.StartWithLess(&s.Conditions, d.Event, passedOverMessage(in.Start.PassedOver, in.Now), less,
		in.Session.Generation, in.Now)
}

// end ends a restore for good. A skipped restore ended well: it was made again, and did its work before.
func end(in Input, d *Decision, phase v1alpha1.RestoreSessionPhase, reason, message string) {
	s := &d.Status
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s.Phase, s.Reason, s.CompletionTime, s.NextRetry, s.PausedBackups = phase, reason, &now, nil, nil
	if s.StartTime != nil {
		s.Duration = text.Duration(now.Sub(s.StartTime.Time))
	}
	if phase == v1alpha1.RestoreSessionInvalid {
		run.Set(&s.Conditions, v1alpha1.ConditionValidationPassed, metav1.ConditionFalse, reason, message,
			in.Session.Generation, in.Now)
	}
	ok := phase == v1alpha1.RestoreSessionSucceeded || phase == v1alpha1.RestoreSessionSkipped
	run.Conclude(&s.Conditions, ok, reason, message, in.Session.Generation, in.Now)
	d.After, d.Release = 0, s.Resolved != nil
	d.Event = &run.Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message}
	if !ok {
		d.Event.Type = corev1.EventTypeWarning
	}
}
