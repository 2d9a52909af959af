// Package restorebatch decides what a RestoreBatch does next. It is pure: it reads no clock and keeps no state. The
// RestoreSessions that it asks for do the work.
package restorebatch

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/decision"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/text"
)

// Input is everything that the next step of a RestoreBatch depends on.
type Input struct {
	// Now is the time of the decision.
	Now time.Time
	// Batch is the RestoreBatch. Next does not change it.
	Batch *v1alpha1.RestoreBatch
	// Start is what was found out about a RestoreBatch that is not frozen yet. It is nil if the RestoreBatch is frozen.
	Start *Start
	// Children holds the RestoreSessions that the RestoreBatch made, by name.
	Children map[string]*v1alpha1.RestoreSession
	// Refused explains, by the name of the target, why its RestoreSession can't be made.
	Refused map[string]*v1alpha1.ResolvedError
	// DisownRefused explains why Disown can't be carried out, DisownUnanswered which admission webhook is away that it
	// needs. They are nil if nothing is known to prevent it.
	DisownRefused, DisownUnanswered *v1alpha1.ResolvedError
	// Jobs holds the existing Jobs of its hooks, by name.
	Jobs map[string]run.Job
	// Hooks returns how attempts of its hooks ended. It is called only where the RestoreBatch has hooks.
	Hooks hookstage.Results
	// Workloads holds the present state of the workloads in status.scaledDown, by their names as ScaledWorkload.String
	// returns them. Nil means that they were not read.
	Workloads map[string]Workload
}

// Workload is the state of a workload that is scaled down and up.
type Workload struct {
	// UID is empty if the workload does not exist.
	UID types.UID
	// Generation is the generation of the workload.
	Generation int64
	// Replicas is the number of replicas that the workload should have, Pods the number of its pods that have not
	// ended, and Ready the names of those that are ready. Settled means that its controller has seen Replicas and makes
	// no more pods for an earlier number.
	Replicas int32
	Pods     int
	Ready    []string
	Settled  bool
	// PodLabels are the labels of its new pods.
	PodLabels map[string]string
	// Refused explains why the workload can't be scaled. It is empty if nothing is known to prevent that.
	Refused string
	// Held explains why the workload can't be scaled for now: an admission webhook is away. It is nil if it is not.
	Held *v1alpha1.ResolvedError
	// Managed says who manages the replicas, or could, if they are about to be changed: see scaling.Manager and
	// scaling.PossibleManager.
	Managed string
	// DeletesClaims means that the pods that a scale-down ends take their claims with them.
	DeletesClaims bool
}

// Start is what was found out about a RestoreBatch before it is frozen.
type Start struct {
	// Since is when the RestoreBatch was first seen.
	Since time.Time
	// AlreadyRestored means that the targets have the stamps of an identical RestoreBatch.
	AlreadyRestored bool
	// Resolved is the resolved restore. It has no meaning when Error is set.
	Resolved v1alpha1.ResolvedRestoreBatch
	// ScaledDown are the workloads to scale down. They have no meaning when Error is set.
	ScaledDown []v1alpha1.ScaledWorkload
	// HoldsLess says which restore points hold more of the targets: see the function HoldsLess.
	HoldsLess string
	// Newer says which targets have newer Snapshots: see the function NewerSnapshots.
	Newer string
	// Error explains why the RestoreBatch can't start.
	Error *v1alpha1.ResolvedError
	// Wait is how long Error can still go away by itself, counted from Since.
	Wait time.Duration
	// Timeout is the timeout of the restore.
	Timeout time.Duration
}

// Decision is the next step of a RestoreBatch. The caller carries it out in this order: Scale, Create, Disown,
// Delete, DeleteJobs, Status; deletions: see Base.Thaws. Each part can be repeated.
type Decision struct {
	decision.Base

	// Status is the status that the RestoreBatch must have.
	Status v1alpha1.RestoreBatchStatus
	// Delete names the RestoreSessions that must end.
	Delete []string
	// DeleteJobs names the Jobs of hooks that must be deleted.
	DeleteJobs []string
	// Scale holds how many replicas workloads must have, by their names as ScaledWorkload.String returns them.
	Scale map[string]int32
	// Create holds the indexes of the targets whose RestoreSessions must be made.
	Create []int
	// Disown means that the RestoreBatch failed although all was written, or pods may have written. What its targets
	// hold must no longer count as restored: made again, it would be Skipped, and Ready.
	Disown bool
}

// Next returns the next step of a RestoreBatch. Its RestoreSessions decide about their targets: the batch
// decides only which of them can begin, and sums up how they ended. For a RestoreBatch that has ended it returns the
// status unchanged.
func Next(in Input) Decision {
	d := Decision{Status: *in.Batch.Status.DeepCopy()}
	switch {
	case in.Batch.Status.Phase.Terminal():
	case in.Batch.Status.Resolved == nil:
		start(in, &d)
	default:
		d.Status.StartTime, d.Status.RestoreDeadline = run.Restart(d.Status.StartTime, d.Status.RestoreDeadline,
			d.Status.Resolved.Timeout, in.Now)
		(&runner{Input: in, d: &d}).run()
	}
	return d
}

// start decides whether a RestoreBatch waits, ends at once, or is frozen.
func start(in Input, d *Decision) {
	d.Status.ObservedGeneration = in.Batch.Generation
	s := in.Start
	if in.Batch.DeletionTimestamp != nil {
		end(in, d, v1alpha1.RestoreSessionFailed, v1alpha1.ReasonCancelled, "deleted before it started")
		return
	}
	until := s.Since.Add(s.Wait)
	switch {
	case s.AlreadyRestored:
		end(in, d, v1alpha1.RestoreSessionSkipped, v1alpha1.ReasonAlreadyRestored,
			restore.AlreadyRestoredMessage(v1alpha1.RestoreBatchKind, "targets"))
	case s.Error != nil && in.Now.Before(until):
		d.Status.Phase, d.Status.Reason = v1alpha1.RestoreSessionPending, s.Error.Reason
		d.Event = run.Wait(&d.Status.Conditions, s.Error.Reason, run.Waiting(s.Error.Message), in.Batch.Generation,
			in.Now)
		d.After = min(max(until.Sub(in.Now), time.Second), run.PollInterval)
	case s.Error != nil:
		end(in, d, restore.PhaseOfRefusal(s.Error.Reason), s.Error.Reason, s.Error.Message)
	default:
		freeze(in, d)
	}
}

// freeze writes down the inputs of the restore. They never change again, whatever happens to the Snapshots.
func freeze(in Input, d *Decision) {
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s, resolved := &d.Status, in.Start.Resolved.DeepCopy()
	resolved.Timeout, s.RestoreDeadline = run.Bounds(in.Start.Timeout, now)
	s.ScaledDown = in.Start.ScaledDown
	d.Yield = true // the status names the workloads before anything is scaled
	s.Resolved, s.StartTime = resolved, &now
	for i := range resolved.Targets {
		t := &resolved.Targets[i]
		s.Targets = append(s.Targets, v1alpha1.RestoreTargetStatus{
			Name: t.Name, Phase: v1alpha1.RestoreSessionPending, Reason: v1alpha1.ReasonPending, Snapshot: t.Snapshot,
			RestorePoint: t.RestorePoint,
		})
	}
	if mixed := slices.ContainsFunc(resolved.Targets, func(t v1alpha1.ResolvedRestoreTarget) bool {
		return t.RestorePoint != resolved.Targets[0].RestorePoint
	}); !mixed {
		s.RestorePoint = resolved.Targets[0].RestorePoint
	}
	s.Phase, s.Reason = v1alpha1.RestoreSessionRunning, v1alpha1.ReasonRunning
	run.Set(&s.Conditions, v1alpha1.ConditionValidationPassed, metav1.ConditionTrue,
		v1alpha1.ReasonResourceValidationPassed, "the restore can be done", in.Batch.Generation, in.Now)
	run.Progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", in.Batch.Generation, in.Now)
	d.Event = &run.Event{Type: corev1.EventTypeNormal, Reason: run.ReasonStarted, Message: "the restore has started"}
	run.StartWithLess(&s.Conditions, d.Event, in.Start.Newer, in.Start.HoldsLess, in.Batch.Generation, in.Now)
	d.After = time.Second
}

// end ends a RestoreBatch for good.
func end(
	in Input, d *Decision, phase v1alpha1.RestoreSessionPhase, reason, message string,
) {
	s := &d.Status
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	s.Phase, s.Reason, s.CompletionTime = phase, reason, &now
	if s.StartTime != nil {
		s.Duration = text.Duration(now.Sub(s.StartTime.Time))
	}
	if phase == v1alpha1.RestoreSessionInvalid {
		run.Set(&s.Conditions, v1alpha1.ConditionValidationPassed, metav1.ConditionFalse, reason, message,
			in.Batch.Generation, in.Now)
	}
	ok := phase == v1alpha1.RestoreSessionSucceeded || phase == v1alpha1.RestoreSessionSkipped
	run.Conclude(&s.Conditions, ok, reason, message, in.Batch.Generation, in.Now)
	d.After = 0
	d.Event = &run.Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message}
	if !ok {
		d.Event.Type = corev1.EventTypeWarning
	}
}
