package session

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// How long a run waits for things that are on their way, counted from when it was first seen.
const (
	// WaitForPolicy is how long a PolicySync that is applying a revision is waited for.
	WaitForPolicy = 30 * time.Second
	// WaitForChild is how long the BackupConfiguration that a batch makes of a target is waited for.
	WaitForChild = time.Minute
	// WaitForRepository is how long a Repository that is being initialised is waited for.
	WaitForRepository = 5 * time.Minute
	// WaitForDatabase is how long a database that is not ready is waited for.
	WaitForDatabase = time.Minute
	// WaitForPods is how long the pods of a cancelled run are waited for.
	WaitForPods = 2 * time.Minute
	// DefaultTimeout of a run or restore that names none.
	DefaultTimeout = 6 * time.Hour
	// pollInterval is how often a run that waits looks again.
	pollInterval = 10 * time.Second
)

// Input is everything that the next step of a run depends on.
type Input struct {
	// Now is the time of the decision.
	Now time.Time
	// Session is the run. It is not changed.
	Session *v1alpha1.BackupSession
	// Start is what was found out about a run that is not frozen yet; nil for one that is.
	Start *Start
	// Snapshots that exist, by name.
	Snapshots map[string]*v1alpha1.Snapshot
	// Refused says, by the name of the Snapshot, why it or its Jobs can't be made any more, for example because the usage
	// policy of the storage was changed.
	Refused map[string]*v1alpha1.ResolvedError
	// Jobs of the run that exist, by name.
	Jobs map[string]Job
	// VolumeSnapshots of the run. Nil: they were not read, which Decision.Look asks for.
	VolumeSnapshots MadeSnapshots
	// Pods is the number of the run's movers' pods that have not ended.
	Pods int
	// Copies of volumes that exist, by name.
	Copies map[string]Copy
	// Hooks says how attempts of hooks ended. It is asked only where the run or a target has hooks.
	Hooks HookResults
}

// Job is a Job of a run or restore as it was observed, or what a sidecar was given to do, which is treated alike.
type Job struct {
	task.Observation
	// Hook says that it is a hook's, not a mover's.
	Hook bool
	// Created is when it was made.
	Created time.Time
	// Finished says whether Kubernetes is done with it.
	Finished bool
	// Sidecar says that it is no Job, but the work of a sidecar.
	Sidecar bool
}

// Start is what was found out about a run before it is frozen.
type Start struct {
	// Since is when the run was first seen.
	Since time.Time
	// CronJob is the name that the annotation AnnotationCronJob must have if it is there.
	CronJob string
	// Refused is why there can be no such run: no invoker, no session.
	Refused *v1alpha1.ResolvedError
	// Deadline after which it must not start any more. Zero: none.
	Deadline time.Time
	// PolicyApplying says that the PolicySync of the invoker is in the middle of a revision.
	PolicyApplying bool
	// Policy that is in force.
	Policy v1alpha1.ResolvedPolicy
	// RestorePoint is the run that began the restore point that this one adds to; empty where it begins one.
	RestorePoint string
	// Schedule of the session, empty where it has none.
	Schedule string
	// Timeout of the run.
	Timeout time.Duration
	// RetryDelay is how long after a failure what failed is tried again; nil where the session does not say.
	RetryDelay *metav1.Duration
	// Rivals are the runs that it must not start beside.
	Rivals Rivals
	// SuccessPolicy of the session; nil where it has none.
	SuccessPolicy *v1alpha1.SuccessPolicy
	// ExecutionOrder of the targets, and how many of them are backed up at once; nil: all.
	ExecutionOrder v1alpha1.ExecutionOrder
	MaxParallel    *int32
	// Targets in the order of the policy.
	Targets []StartTarget
	// Hooks of the session; nil where it has none.
	Hooks *v1alpha1.ResolvedHooks
	// HookError is why the hooks can't be run. Without them nothing is backed up.
	HookError *v1alpha1.ResolvedError
	// HooksOf is the name of an unfinished run with hooks on one of the targets. This one waits for its end.
	HooksOf string
}

// StartTarget is one target of a run that is not frozen yet.
type StartTarget struct {
	// Resolved target, with its error if it has one.
	Resolved v1alpha1.ResolvedTarget
	// Wait is how long Resolved.Error may still go away by itself, counted from Start.Since.
	Wait time.Duration
	// HookError is why the hooks of the target can't be run. Without them it is not backed up.
	HookError *v1alpha1.ResolvedError
}

// trouble is what keeps the target from being backed up, and how long it may still go away by itself.
func (t *StartTarget) trouble() (*v1alpha1.ResolvedError, time.Duration) {
	switch {
	case t.Resolved.Error != nil || t.HookError == nil:
		return t.Resolved.Error, t.Wait
	case mayCome(t.HookError.Reason):
		return t.HookError, WaitForChild
	default:
		return t.HookError, 0
	}
}

// Decision is the next step of a run. The caller carries it out in this order: Replace, Movers, Snapshots, Discard, Copies,
// Delete, Create, Status.
// Each part can be repeated; a caller that is killed between two of them asks again.
type Decision struct {
	// Status that the run must have.
	Status v1alpha1.BackupSessionStatus
	// Replace are the names of the runs that must end, because this one takes their place.
	Replace []string
	// Movers is the value that AnnotationMovers must have, by the name of the Snapshot. A mover that is not in it can't
	// write any more.
	Movers map[string]string
	// Snapshots is the status that Snapshots must have, by name. Only those that exist are in it.
	Snapshots map[string]v1alpha1.SnapshotStatus
	// Delete are the names of Jobs that must go.
	Delete []string
	// Discard are the names of copies that must go.
	Discard []string
	// Copies that must be made, or the next part of them.
	Copies []CopyRequest
	// Create are the Jobs that must be made.
	Create []Mover
	// Verify says that a mover is given up or repeated. What was observed through a cache may be older than what the mover
	// wrote: the caller observes again without one, asks again, and carries out that decision.
	Verify bool
	// Look says that a mover tells of VolumeSnapshots: the caller reads them past every cache, asks again, and carries out that decision.
	Look bool
	// Hooks are the attempts that must be under way once Status was written.
	Hooks []HookRun
	// StopHooks are the attempts that must be stopped.
	StopHooks []HookAttempt
	// Event to be emitted once Status was written. Nil: nothing happened that anybody must know.
	Event *Event
	// After is when to ask again if nothing else happens. Zero: not at all.
	After time.Duration
}

// Mover identifies one Job of a run: one host of one target into one repository.
type Mover struct {
	// Name of the Job.
	Name string
	// Attempt is 1 or 2.
	Attempt    int
	Target     *v1alpha1.ResolvedTarget
	Repository *v1alpha1.ResolvedRepository
	Host       *v1alpha1.ResolvedHost
}

// Event is something that happened to a run or restore.
type Event struct {
	// Type is corev1.EventTypeNormal or corev1.EventTypeWarning.
	Type string
	// Reason, one word.
	Reason string
	// Message of the event.
	Message string
}

// ReasonStarted is the reason of the event that a run or restore has started.
const ReasonStarted = "Started"

// Next is the next step of a run. A run that ended has none: its status comes back as it is.
func Next(in Input) Decision {
	switch {
	case in.Session.Status.Phase.Terminal():
		return Decision{Status: *in.Session.Status.DeepCopy()}
	case in.Session.Status.Resolved == nil:
		return start(in)
	default:
		return run(in)
	}
}

// end ends a run for good.
func end(in Input, d *Decision, phase v1alpha1.BackupSessionPhase, reason, message string) {
	s := &d.Status
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s.Phase, s.Reason, s.CompletionTime = phase, reason, &now
	if s.StartTime != nil {
		s.Duration = FormatDuration(now.Sub(s.StartTime.Time))
	}
	s.ObservedGeneration = in.Session.Generation
	planRetry(in.Session, s)
	conclude(&s.Conditions, phase == v1alpha1.BackupSessionSucceeded, reason, message, in.Session.Generation, in.Now)
	d.After = 0
	d.Event = &Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message}
	if phase == v1alpha1.BackupSessionFailed {
		d.Event.Type = corev1.EventTypeWarning
	}
}
