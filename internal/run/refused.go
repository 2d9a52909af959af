package run

import (
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// WaitForRefused is how long a run or restore tries to create an object that the API server refuses because of a
	// quota or an admission webhook or policy: a quota can get room again, and a webhook can come back. The end of a
	// target can begin that time again.
	WaitForRefused = 5 * time.Minute
	// refusedSoon and refusedLate bound the time between two tries. It grows with the time that the refusal has lasted.
	refusedSoon, refusedLate = 5 * time.Second, time.Minute
	// waiting begins the messages about what work waits for.
	waiting = "waiting: "
)

// Waiting returns the message of work that waits for something.
func Waiting(message string) string { return waiting + message }

// IsWaiting reports whether a message is one that Waiting returns.
func IsWaiting(message string) bool { return strings.HasPrefix(message, waiting) }

// CanPass reports whether a refusal can pass by itself.
func CanPass(refusal *v1alpha1.ResolvedError) bool {
	return refusal != nil && refusal.Reason == v1alpha1.ReasonCreationRefused
}

// RefusedLeft returns for how long an object that the API server refuses is still tried: 0 means that what needs it
// fails now. The conditions are those of the run or restore, and say since when something is refused. began is when the
// part that needs the object began, nil if nobody knows.
func RefusedLeft(cs []metav1.Condition, began *metav1.Time, now time.Time) time.Duration {
	since := now
	if c := apimeta.FindStatusCondition(cs, v1alpha1.ConditionCreationRefused); c != nil &&
		!v1alpha1.Ahead(c.LastTransitionTime.Time, now) {
		since = c.LastTransitionTime.Time
	}
	if began != nil && began.After(since) && !began.After(now) {
		since = began.Time
	}
	return Left(since.Add(WaitForRefused), WaitForRefused, now)
}

// LastOf returns the last of the times that are not after now, nil if there is none.
func LastOf(now time.Time, times ...*metav1.Time) *metav1.Time {
	var last *metav1.Time
	for _, t := range times {
		if t != nil && !t.After(now) && (last == nil || t.After(last.Time)) {
			last = t
		}
	}
	return last
}

// RefusedAgain returns when to try again what is tried for left.
func RefusedAgain(left time.Duration) time.Duration {
	waited := WaitForRefused - left
	return max(min(waited/2, refusedLate, left), refusedSoon)
}

// ReportRefused makes the conditions say what the API server refuses, or that it refuses nothing, which is "". It
// returns the event that says so, or nil if the conditions said before that something is refused.
//
// Ready quotes the refusal too, unless the work waits for something else. Reconciling stays as it is, and says what
// Ready says once the refusal has passed.
func ReportRefused(cs *[]metav1.Condition, message string, generation int64, now time.Time) *Event {
	was := apimeta.FindStatusCondition(*cs, v1alpha1.ConditionCreationRefused)
	if was != nil && (message == "" || v1alpha1.Ahead(was.LastTransitionTime.Time, now)) {
		apimeta.RemoveStatusCondition(cs, v1alpha1.ConditionCreationRefused)
		was = nil
	}
	tellRefused(*cs, message)
	if message == "" {
		return nil
	}
	known := was != nil
	Set(cs, v1alpha1.ConditionCreationRefused, metav1.ConditionTrue, v1alpha1.ReasonCreationRefused, message,
		generation, now)
	if known {
		return nil
	}
	return &Event{Type: corev1.EventTypeWarning, Reason: v1alpha1.ReasonCreationRefused, Message: message}
}

// tellRefused makes Ready say what the API server refuses, or that it refuses nothing, which is "".
func tellRefused(cs []metav1.Condition, message string) {
	ready := apimeta.FindStatusCondition(cs, meta.ReadyCondition)
	work := apimeta.FindStatusCondition(cs, meta.ReconcilingCondition)
	if ready == nil || work == nil {
		return
	}
	ready.Reason, ready.Message = work.Reason, work.Message
	if message != "" && !IsWaiting(work.Message) {
		ready.Reason, ready.Message = v1alpha1.ReasonCreationRefused, text.Shorten(Waiting(message))
	}
}
