package initjob

import (
	"cmp"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// Status is the part of an owner's status that shows whether the owner can be used. Each of its methods sets all of
// that part.
type Status struct {
	// Object is what the Job makes ready.
	Object conditions.Setter
	// Phase and ObservedGeneration point into the Object's status.
	Phase              *string
	ObservedGeneration *int64
	// Condition is true once the Job has succeeded. Succeeded and Failed are its reasons.
	Condition, Succeeded, Failed string
	// Done is the message of the true Condition, Usable that of Ready, Begun that of both while the Job runs.
	Done, Usable, Begun string
	// Proved means that an earlier Job has proved what the owner says now: this one only settles a doubt of that. An
	// owner that is ready stays so until a Job disproves it.
	Proved bool
}

func (s Status) settle(phase string) {
	*s.Phase, *s.ObservedGeneration = phase, s.Object.GetGeneration()
}

// Ready reports that the owner can be used.
func (s Status) Ready() {
	s.settle(v1alpha1.PhaseReady)
	conditions.MarkTrue(s.Object, s.Condition, s.Succeeded, "%s", s.Done)
	status.Ready(s.Object, s.Usable)
}

// NotReady reports a problem after which Cairn tries again.
func (s Status) NotReady(reason, message string) {
	s.settle(v1alpha1.PhaseNotReady)
	status.NotReady(s.Object, reason, message)
}

// Stalled reports a problem that only a change of policy can solve.
func (s Status) Stalled(reason, message string) {
	s.settle(v1alpha1.PhaseNotReady)
	status.Stalled(s.Object, reason, message)
}

// Follow reports the progress of the Job. While a Job for the same spec runs, the failure of its predecessor stays
// visible. One that can't begin replaces it: nobody sees otherwise what to mend now. Suspended Jobs wait, as they are
// meant to; what the API server refuses is a problem. That stays visible while the Job only waits for its turn to be
// tried again.
func (s Status) Follow(p Progress, now time.Time) {
	switch p.State {
	case observe.StateSucceeded:
		s.Ready()
		return
	case observe.StateFailed:
		if s.Proved && conditions.IsReady(s.Object) && !p.Disproves() {
			s.Ready()
			return
		}
		conditions.MarkFalse(s.Object, s.Condition, s.Failed, "%s", p.Message)
		s.NotReady(p.Reason, p.Message)
		return
	}
	refused := conditions.GetReason(s.Object, meta.ReadyCondition) == v1alpha1.ReasonCreationRefused
	keeps := status.Because(s.Object, s.Condition) && p.Reason == "" || s.Proved && conditions.IsReady(s.Object) ||
		refused && p.Queued
	if keeps && *s.ObservedGeneration == s.Object.GetGeneration() {
		return
	}
	begun := status.Message(s.Object, []status.Problem{{Text: cmp.Or(p.Message, s.Begun), Words: p.Words}}, now)
	s.settle(v1alpha1.PhaseNotReady)
	// Without the words, which can differ each time, it also tells since when a Job is refused.
	conditions.MarkUnknown(s.Object, s.Condition, v1alpha1.ReasonProgressing, "%s",
		cmp.Or(strings.TrimSuffix(p.Message, ": "), s.Begun))
	if p.Reason == v1alpha1.ReasonCreationRefused {
		status.NotReady(s.Object, p.Reason, begun)
		return
	}
	status.Progressing(s.Object, begun)
}

// Again returns when to look again at a Job that the status follows. A Job that the API server refuses is tried less
// and less often, by the time for which the Condition has said so. That of an owner that stays ready does not say it.
func (s Status) Again(p Progress, now time.Time) time.Duration {
	if p.Reason != v1alpha1.ReasonCreationRefused {
		return p.After
	}
	is := conditions.Get(s.Object, s.Condition)
	if is == nil || is.Status != metav1.ConditionUnknown {
		return retryAfter
	}
	return min(max(now.Sub(is.LastTransitionTime.Time)/4, p.After), refusedSeldom)
}
