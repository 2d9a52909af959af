package run

import (
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// Progress sets the conditions of something that is under way.
func Progress(cs *[]metav1.Condition, reason, message string, generation int64, now time.Time) {
	if since := apimeta.FindStatusCondition(*cs, meta.ReconcilingCondition); since != nil &&
		v1alpha1.Ahead(since.LastTransitionTime.Time, now) {
		apimeta.RemoveStatusCondition(cs, meta.ReconcilingCondition)
	}
	Set(cs, meta.ReconcilingCondition, metav1.ConditionTrue, reason, message, generation, now)
	Set(cs, meta.ReadyCondition, metav1.ConditionUnknown, reason, message, generation, now)
}

// Wait sets the conditions of something that waits. It returns the event that says so, or nil if the conditions said so
// before.
func Wait(cs *[]metav1.Condition, reason, message string, generation int64, now time.Time) *Event {
	before := apimeta.FindStatusCondition(*cs, meta.ReadyCondition)
	known := before != nil && before.Reason == reason && before.Message == text.Shorten(message)
	Progress(cs, reason, message, generation, now)
	if known {
		return nil
	}
	return &Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message}
}

// Conclude sets the conditions of something that has ended. If it did not end well it is Stalled, because nothing more
// will come of it.
func Conclude(cs *[]metav1.Condition, ok bool, reason, message string, generation int64, now time.Time) {
	apimeta.RemoveStatusCondition(cs, meta.ReconcilingCondition)
	if ok {
		apimeta.RemoveStatusCondition(cs, meta.StalledCondition)
		Set(cs, meta.ReadyCondition, metav1.ConditionTrue, reason, message, generation, now)
		return
	}
	Set(cs, meta.StalledCondition, metav1.ConditionTrue, reason, message, generation, now)
	Set(cs, meta.ReadyCondition, metav1.ConditionFalse, reason, message, generation, now)
}

// Partial sets the condition that only a part succeeded.
func Partial(cs *[]metav1.Condition, message string, generation int64, now time.Time) {
	Set(cs, v1alpha1.ConditionPartial, metav1.ConditionTrue, v1alpha1.ReasonPartial, message, generation, now)
}

// StartWithLess sets the condition Partial of a restore that takes a Snapshot although others of its target are newer,
// or hold more: newer and holdsLess say so, or are "". The event of the start becomes a warning that says it, too.
func StartWithLess(
	cs *[]metav1.Condition, started *Event, newer, holdsLess string, generation int64, now time.Time,
) {
	reason, message := v1alpha1.ReasonNewerSnapshot, newer
	switch {
	case newer == "" && holdsLess == "":
		return
	case newer == "":
		reason, message = v1alpha1.ReasonHoldsLess, holdsLess
	case holdsLess != "":
		message += ". And " + holdsLess
	}
	Set(cs, v1alpha1.ConditionPartial, metav1.ConditionTrue, reason, message, generation, now)
	started.warn(reason, message)
}

// EndWithLess makes the event of a success a warning that says what the success lacks.
func EndWithLess(ended *Event, lacks string) { ended.warn(v1alpha1.ReasonPartial, text.Shorten(lacks)) }

// warn makes the event a warning that says more.
func (e *Event) warn(reason, message string) {
	e.Type, e.Reason = corev1.EventTypeWarning, reason
	e.Message += ". " + message
}

// EndPartial sets the condition Partial of a restore, and keeps what StartWithLess has said. That comes last: it can be
// longer than what fits.
func EndPartial(cs *[]metav1.Condition, message string, generation int64, now time.Time) {
	if less := apimeta.FindStatusCondition(*cs, v1alpha1.ConditionPartial); less != nil {
		Set(cs, less.Type, less.Status, less.Reason, message+"; "+less.Message, generation, now)
		return
	}
	Partial(cs, message, generation, now)
}

// Set sets one condition, with a message that fits.
func Set(
	cs *[]metav1.Condition, kind string, status metav1.ConditionStatus, reason, message string, generation int64,
	now time.Time,
) {
	apimeta.SetStatusCondition(cs, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: text.Shorten(message), ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
	})
}

// Since returns when a run or restore was first seen, which is when its Reconciling condition was set. Before that it
// returns now, and so it does if a clock that was ahead has set the condition: Progress corrects that.
func Since(cs []metav1.Condition, now time.Time) time.Time {
	if c := apimeta.FindStatusCondition(cs, meta.ReconcilingCondition); c != nil &&
		!v1alpha1.Ahead(c.LastTransitionTime.Time, now) {
		return c.LastTransitionTime.Time
	}
	return now
}
