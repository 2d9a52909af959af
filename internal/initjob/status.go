package initjob

import (
	"cmp"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kstatus"
	"github.com/cairn-backup/cairn/internal/task"
)

// Status is the part of an owner's status that tells whether it can be used. Each of its methods sets all of it.
type Status struct {
	// Object that the Job makes ready.
	Object conditions.Setter
	// Phase and ObservedGeneration of the Object's status.
	Phase              *string
	ObservedGeneration *int64
	// Condition that is true once the Job has succeeded, and its reasons.
	Condition, Succeeded, Failed string
	// Done is the message of the true Condition, Usable that of Ready, Begun that of both while the Job runs.
	Done, Usable, Begun string
	// Proved owners stay ready while a Job of the same spec runs: only their credential is proved anew.
	Proved bool
}

func (s Status) settle(phase string) {
	*s.Phase, *s.ObservedGeneration = phase, s.Object.GetGeneration()
}

// Ready says that the owner can be used.
func (s Status) Ready() {
	s.settle(v1alpha1.PhaseReady)
	conditions.MarkTrue(s.Object, s.Condition, s.Succeeded, "%s", s.Done)
	kstatus.Ready(s.Object, s.Usable)
}

// NotReady says what went wrong and is tried again.
func (s Status) NotReady(reason, message string) {
	s.settle(v1alpha1.PhaseNotReady)
	kstatus.NotReady(s.Object, reason, message)
}

// Stalled says what only a change of policy can mend.
func (s Status) Stalled(reason, message string) {
	s.settle(v1alpha1.PhaseNotReady)
	kstatus.Stalled(s.Object, reason, message)
}

// Follow says how far the Job is. While one of the same spec runs, the failure of the one before stays.
func (s Status) Follow(p Progress) {
	switch p.State {
	case task.StateSucceeded:
		s.Ready()
		return
	case task.StateFailed:
		conditions.MarkFalse(s.Object, s.Condition, s.Failed, "%s", p.Message)
		s.NotReady(p.Reason, p.Message)
		return
	}
	keeps := kstatus.Because(s.Object, s.Condition) || s.Proved && conditions.IsReady(s.Object)
	if keeps && *s.ObservedGeneration == s.Object.GetGeneration() {
		return
	}
	begun := cmp.Or(p.Message, s.Begun)
	s.settle(v1alpha1.PhaseNotReady)
	conditions.MarkUnknown(s.Object, s.Condition, v1alpha1.ReasonProgressing, "%s", begun)
	kstatus.Progressing(s.Object, begun)
}
