package session

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// RestoreBatchInput is everything that the next step of a RestoreBatch depends on.
type RestoreBatchInput struct {
	// Now is the time of the decision.
	Now time.Time
	// Batch is the RestoreBatch. It is not changed.
	Batch *v1alpha1.RestoreBatch
	// Start is what was found out about one that is not frozen yet; nil for one that is.
	Start *RestoreBatchStart
	// Children are the RestoreSessions that it made, by name.
	Children map[string]*v1alpha1.RestoreSession
	// Refused says, by the name of the target, why its RestoreSession can't be made.
	Refused map[string]*v1alpha1.ResolvedError
	// Jobs of its hooks that exist, by name.
	Jobs map[string]Job
	// Hooks says how attempts of its hooks ended. It is asked only where it has hooks.
	Hooks HookResults
	// Workloads are those of status.scaledDown as they are, by their names as ScaledWorkload.String gives them. Nil: not looked at.
	Workloads map[string]Workload
}

// Workload is a workload that is scaled down and up.
type Workload struct {
	// UID is empty where there is no such workload.
	UID types.UID
	// Generation of it.
	Generation int64
	// Replicas that it should have, and Pods that have not ended. Settled says that its controller has seen Replicas and makes no more
	// pods for what was before.
	Replicas int32
	Pods     int
	Settled  bool
	// Refused says why it can't be scaled; empty: it is not known that it can't.
	Refused string
	// Managed says who manages its replicas, or may, where they are about to be changed: see scaling.Manager and scaling.Taken.
	Managed string
}

// RestoreBatchStart is what was found out about a RestoreBatch before it is frozen.
type RestoreBatchStart struct {
	// Since is when it was first seen.
	Since time.Time
	// AlreadyRestored says that the targets carry its digests.
	AlreadyRestored bool
	// Resolved restore; it means nothing when Error is set.
	Resolved v1alpha1.ResolvedRestoreBatch
	// ScaledDown are the workloads that are scaled down; they mean nothing when Error is set.
	ScaledDown []v1alpha1.ScaledWorkload
	// Error that keeps it from being started.
	Error *v1alpha1.ResolvedError
	// Wait is how long Error may still go away by itself, counted from Since.
	Wait time.Duration
	// Timeout of the restore.
	Timeout time.Duration
}

// RestoreBatchDecision is the next step of a RestoreBatch. The caller carries it out in this order: Delete, DeleteJobs, Scale,
// Create, Status. Each part can be repeated.
type RestoreBatchDecision struct {
	// Status that the RestoreBatch must have.
	Status v1alpha1.RestoreBatchStatus
	// Delete are the names of RestoreSessions that must end.
	Delete []string
	// DeleteJobs are the names of Jobs of hooks that must go.
	DeleteJobs []string
	// Look says that nothing was decided because Workloads must be looked at.
	Look bool
	// Scale says how many replicas workloads must have, by their names as ScaledWorkload.String gives them.
	Scale map[string]int32
	// Create are the numbers of the targets whose RestoreSessions must be made.
	Create []int
	// Verify says that a RestoreSession or a Job is given up: see Decision.Verify.
	Verify bool
	// Hooks are attempts that must be under way once Status was written.
	Hooks []HookRun
	// StopHooks are attempts that must be stopped.
	StopHooks []HookAttempt
	// Event to be emitted once Status was written. Nil: nothing happened that anybody must know.
	Event *Event
	// After is when to ask again if nothing else happens. Zero: not at all.
	After time.Duration
}

// NextRestoreBatch is the next step of a RestoreBatch. What becomes of a target is the affair of its RestoreSession: the batch says
// only which may begin, and sums up how they ended. One that ended has no next step: its status comes back as it is.
func NextRestoreBatch(in RestoreBatchInput) RestoreBatchDecision {
	d := RestoreBatchDecision{Status: *in.Batch.Status.DeepCopy()}
	switch {
	case in.Batch.Status.Phase.Terminal():
	case in.Batch.Status.Resolved == nil:
		startRestoreBatch(in, &d)
	default:
		(&batchRestore{in, &d}).run()
	}
	return d
}

// startRestoreBatch decides whether a RestoreBatch waits, ends at once, or is frozen.
func startRestoreBatch(in RestoreBatchInput, d *RestoreBatchDecision) {
	d.Status.ObservedGeneration = in.Batch.Generation
	s := in.Start
	if in.Batch.DeletionTimestamp != nil {
		endRestoreBatch(in, d, v1alpha1.RestoreSessionFailed, v1alpha1.ReasonCancelled, "deleted before it started")
		return
	}
	until := s.Since.Add(s.Wait)
	switch {
	case s.AlreadyRestored:
		endRestoreBatch(in, d, v1alpha1.RestoreSessionSkipped, v1alpha1.ReasonAlreadyRestored, "the targets were filled by an equal RestoreBatch before")
	case s.Error != nil && in.Now.Before(until):
		d.Status.Phase, d.Status.Reason = v1alpha1.RestoreSessionPending, s.Error.Reason
		message := "waiting: " + s.Error.Message
		d.Event = waiting(d.Status.Conditions, s.Error.Reason, message)
		progress(&d.Status.Conditions, s.Error.Reason, message, in.Batch.Generation, in.Now)
		d.After = min(max(until.Sub(in.Now), time.Second), pollInterval)
	case s.Error != nil:
		endRestoreBatch(in, d, phaseOfRefusal(s.Error.Reason), s.Error.Reason, s.Error.Message)
	default:
		freezeRestoreBatch(in, d)
	}
}

// freezeRestoreBatch writes down what the restore works with: from then on it is the same, whatever becomes of the Snapshots.
func freezeRestoreBatch(in RestoreBatchInput, d *RestoreBatchDecision) {
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	timeout := cmp.Or(in.Start.Timeout, DefaultTimeout)
	deadline := metav1.NewTime(now.Add(timeout))
	resolved := in.Start.Resolved.DeepCopy()
	resolved.Timeout = &metav1.Duration{Duration: timeout}
	s := &d.Status
	s.ScaledDown = in.Start.ScaledDown
	s.Resolved, s.StartTime, s.RestoreDeadline = resolved, &now, &deadline
	for i := range resolved.Targets {
		t := &resolved.Targets[i]
		s.Targets = append(s.Targets, v1alpha1.RestoreTargetStatus{
			Name: t.Name, Phase: v1alpha1.RestoreSessionPending, Reason: v1alpha1.ReasonPending, Snapshot: t.Snapshot, RestorePoint: t.RestorePoint,
		})
	}
	if mixed := slices.ContainsFunc(resolved.Targets, func(t v1alpha1.ResolvedRestoreTarget) bool {
		return t.RestorePoint != resolved.Targets[0].RestorePoint
	}); !mixed {
		s.RestorePoint = resolved.Targets[0].RestorePoint
	}
	s.Phase, s.Reason = v1alpha1.RestoreSessionRunning, v1alpha1.ReasonRunning
	set(&s.Conditions, v1alpha1.ConditionValidationPassed, metav1.ConditionTrue, v1alpha1.ReasonResourceValidationPassed, "the restore can be done", in.Batch.Generation, in.Now)
	progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", in.Batch.Generation, in.Now)
	d.Event = &Event{Type: corev1.EventTypeNormal, Reason: ReasonStarted, Message: "the restore has started"}
	d.After = time.Second
}

// endRestoreBatch ends a RestoreBatch for good.
func endRestoreBatch(in RestoreBatchInput, d *RestoreBatchDecision, phase v1alpha1.RestoreSessionPhase, reason, message string) {
	s := &d.Status
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s.Phase, s.Reason, s.CompletionTime = phase, reason, &now
	if s.StartTime != nil {
		s.Duration = FormatDuration(now.Sub(s.StartTime.Time))
	}
	if phase == v1alpha1.RestoreSessionInvalid {
		set(&s.Conditions, v1alpha1.ConditionValidationPassed, metav1.ConditionFalse, reason, message, in.Batch.Generation, in.Now)
	}
	ok := phase == v1alpha1.RestoreSessionSucceeded || phase == v1alpha1.RestoreSessionSkipped
	conclude(&s.Conditions, ok, reason, message, in.Batch.Generation, in.Now)
	d.After = 0
	d.Event = &Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message}
	if !ok {
		d.Event.Type = corev1.EventTypeWarning
	}
}
