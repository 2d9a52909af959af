// Package backup decides what a BackupSession does next: Next turns an observation into a Decision. It is pure: it
// reads no clock and keeps no state. Invariants: the outcome of a run that has ended never changes; a frozen run
// depends only on status.resolved and on what was observed; each decision can be repeated.
package backup

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/decision"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/text"
)

// Input is everything that the next step of a run depends on.
type Input struct {
	// Now is the time of the decision.
	Now time.Time
	// Session is the run. Next does not change it.
	Session *v1alpha1.BackupSession
	// Start is what was found out about a run that is not frozen yet. It is nil for a frozen run.
	Start *Start
	// Snapshots holds the existing Snapshots of the run, by name.
	Snapshots map[string]*v1alpha1.Snapshot
	// Refused explains, by the name of a Snapshot, why it or its Jobs can no longer be made, for example because the
	// usage policy of the storage changed, or not for now: see run.CanPass.
	Refused map[string]*v1alpha1.ResolvedError
	// Jobs holds the existing Jobs of the run, by name.
	Jobs map[string]run.Job
	// VolumeSnapshots holds the VolumeSnapshots of the run. Nil means that they were not read; Decision.Look asks for
	// them.
	VolumeSnapshots MadeSnapshots
	// Pods is the number of mover pods of the run that have not ended.
	Pods int
	// Copies holds the existing copies of volumes, by name.
	Copies map[string]Copy
	// Hooks returns how attempts of hooks ended. It is called only where the run or a target has hooks.
	Hooks hookstage.Results
}

// Start is what was found out about a run before it is frozen.
type Start struct {
	// Since is when the run was first seen.
	Since time.Time
	// CronJob is the only value that the annotation AnnotationCronJob is allowed to have.
	CronJob string
	// Refused explains why there can be no such run, for example because its invoker or session does not exist.
	Refused *v1alpha1.ResolvedError
	// Deadline is the time after which the run must not start any more. Zero means that there is none.
	Deadline time.Time
	// PolicyApplying means that the PolicySync of the invoker is in the middle of a revision.
	PolicyApplying bool
	// Policy is the policy in force.
	Policy v1alpha1.ResolvedPolicy
	// RestorePoint is the run that began the restore point to which this run adds. It is empty for a run that begins
	// one.
	RestorePoint string
	// RestorePointUID is the UID of that run.
	RestorePointUID types.UID
	// RestorePointTime is the slot of that run.
	RestorePointTime *metav1.Time
	// Schedule is the schedule of the session, empty where it has none.
	Schedule string
	// Timeout is the timeout of the run; 0 means that it has none.
	Timeout time.Duration
	// RetryDelay is how long after a failure the failed targets are tried again. It is nil where the session does not
	// say.
	RetryDelay *metav1.Duration
	// Rivals are the runs beside which this run must not start.
	Rivals Rivals
	// SuccessPolicy is that of the session, nil where it has none.
	SuccessPolicy *v1alpha1.SuccessPolicy
	// ExecutionOrder is the order of the targets. MaxParallel is how many of them are backed up at once; nil means all.
	ExecutionOrder v1alpha1.ExecutionOrder
	MaxParallel    *int32
	// Targets are in the order of the policy.
	Targets []StartTarget
	// Hooks are those of the session, nil where it has none.
	Hooks *v1alpha1.ResolvedHooks
	// HookError explains why the hooks can't be run. Nothing is backed up without them.
	HookError *v1alpha1.ResolvedError
	// HooksOf names an unfinished run with hooks on one of the targets. This run waits for it to end.
	HooksOf string
}

// StartTarget is one target of a run that is not frozen yet.
type StartTarget struct {
	// Resolved is the resolved target, with its error if it has one.
	Resolved v1alpha1.ResolvedTarget
	// Wait is how long Resolved.Error can still go away by itself, counted from Start.Since.
	Wait time.Duration
	// HookError explains why the hooks of the target can't be run. The target is not backed up without them.
	HookError *v1alpha1.ResolvedError
	// Missing names the components of the target's last backup that it no longer has.
	Missing []string
}

// trouble returns what keeps the target from being backed up, and how long that can still go away by itself.
func (t *StartTarget) trouble() (*v1alpha1.ResolvedError, time.Duration) {
	switch {
	case t.Resolved.Error != nil || t.HookError == nil:
		return t.Resolved.Error, t.Wait
	case hook.MayCome(t.HookError.Reason):
		return t.HookError, run.WaitForChild
	default:
		return t.HookError, 0
	}
}

// Decision is the next step of a run. The caller carries it out in this order: Replace, Movers, Snapshots, Copies,
// Create, Discard, Delete, Status; deletions: see Base.Thaws. A Job goes before one of its host is created. Each
// part can be repeated: a caller that is killed between two parts asks again.
type Decision struct {
	decision.Base

	// Status is the status that the run must have.
	Status v1alpha1.BackupSessionStatus
	// Replace names the runs that must end because this run takes their place.
	Replace []string
	// Movers holds the value that AnnotationMovers must have, by the name of the Snapshot. A mover that is not in it
	// can no longer write.
	Movers map[string]string
	// Snapshots holds the status that Snapshots must have, by name. It contains only Snapshots that exist.
	Snapshots map[string]v1alpha1.SnapshotStatus
	// Delete names the Jobs that must be deleted.
	Delete []string
	// Discard names the copies that must be deleted.
	Discard []string
	// Copies are the copies to make, or the next part of them.
	Copies []CopyRequest
	// Create are the Jobs to make.
	Create []Mover
}

// Mover identifies one Job of a run: one host of one target into one Repository.
type Mover struct {
	// Name is the name of the Job.
	Name string
	// Attempt is 1 or 2.
	Attempt    int
	Target     *v1alpha1.ResolvedTarget
	Repository *v1alpha1.ResolvedRepository
	Host       *v1alpha1.ResolvedHost
}

// Next returns the next step of a run. For a run that has ended it returns the status unchanged.
func Next(in Input) Decision {
	switch {
	case in.Session.Status.Phase.Terminal():
		return Decision{Status: *in.Session.Status.DeepCopy()}
	case in.Session.Status.Resolved == nil:
		return start(in)
	default:
		return advance(inTime(in))
	}
}

// inTime returns the input with a start and deadlines that lie in no future from which a clock has come back.
func inTime(in Input) Input {
	ahead := func(t *metav1.Time) bool { return t != nil && v1alpha1.Ahead(t.Time, in.Now) }
	if !ahead(in.Session.Status.StartTime) &&
		!slices.ContainsFunc(in.Session.Status.Targets, func(t v1alpha1.BackupTargetStatus) bool {
			return ahead(t.StartTime)
		}) {
		return in
	}
	s := in.Session.DeepCopy()
	s.Status.StartTime, s.Status.BackupDeadline = run.Restart(s.Status.StartTime, s.Status.BackupDeadline,
		s.Status.Resolved.Timeout, in.Now)
	for i := range s.Status.Targets {
		t := &s.Status.Targets[i]
		t.StartTime, _ = run.Restart(t.StartTime, nil, nil, in.Now)
	}
	in.Session = s
	return in
}

// end ends a run for good.
func end(in Input, d *Decision, phase v1alpha1.BackupSessionPhase, reason, message string) {
	s := &d.Status
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s.Phase, s.Reason, s.CompletionTime = phase, reason, &now
	if s.StartTime != nil {
		s.Duration = text.Duration(now.Sub(s.StartTime.Time))
	}
	s.ObservedGeneration = in.Session.Generation
	planRetry(in.Session, s)
	run.Conclude(&s.Conditions, phase == v1alpha1.BackupSessionSucceeded, reason, message,
		in.Session.Generation, in.Now)
	d.After = 0
	d.Event = &run.Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message}
	if phase == v1alpha1.BackupSessionFailed {
		d.Event.Type = corev1.EventTypeWarning
	}
}
