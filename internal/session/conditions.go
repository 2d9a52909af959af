package session

import (
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// progress sets the conditions of something that is under way.
func progress(cs *[]metav1.Condition, reason, message string, generation int64, now time.Time) {
	set(cs, meta.ReconcilingCondition, metav1.ConditionTrue, reason, message, generation, now)
	set(cs, meta.ReadyCondition, metav1.ConditionUnknown, reason, message, generation, now)
}

// waiting returns the event that something waits for this reason, or nil when its conditions say so already.
func waiting(cs []metav1.Condition, reason, message string) *Event {
	if c := apimeta.FindStatusCondition(cs, meta.ReadyCondition); c != nil && c.Reason == reason &&
		c.Message == shorten(message) {
		return nil
	}
	return &Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message}
}

// conclude sets the conditions of something that has ended. If it did not end well it is Stalled, because nothing more
// will come of it.
func conclude(cs *[]metav1.Condition, ok bool, reason, message string, generation int64, now time.Time) {
	apimeta.RemoveStatusCondition(cs, meta.ReconcilingCondition)
	if ok {
		apimeta.RemoveStatusCondition(cs, meta.StalledCondition)
		set(cs, meta.ReadyCondition, metav1.ConditionTrue, reason, message, generation, now)
		return
	}
	set(cs, meta.StalledCondition, metav1.ConditionTrue, reason, message, generation, now)
	set(cs, meta.ReadyCondition, metav1.ConditionFalse, reason, message, generation, now)
}

// partial sets the condition that only a part succeeded.
func partial(cs *[]metav1.Condition, message string, generation int64, now time.Time) {
	set(cs, v1alpha1.ConditionPartial, metav1.ConditionTrue, v1alpha1.ReasonPartial, message, generation, now)
}

// setHooks sets the condition that says how the hooks of a stage ended.
func setHooks(
	cs *[]metav1.Condition, kind string, hooks []v1alpha1.HookStatus, name, succeeded, failed string, generation int64,
	now time.Time,
) {
	if failures := hookFailures(hooks); failures != "" {
		set(cs, kind, metav1.ConditionFalse, failed, failures, generation, now)
		return
	}
	message := "no " + name + " hook had to run"
	if slices.ContainsFunc(hooks, func(h v1alpha1.HookStatus) bool { return h.Phase == v1alpha1.HookSucceeded }) {
		message = "the " + name + " hooks succeeded"
	}
	set(cs, kind, metav1.ConditionTrue, succeeded, message, generation, now)
}

func set(
	cs *[]metav1.Condition, kind string, status metav1.ConditionStatus, reason, message string, generation int64,
	now time.Time,
) {
	apimeta.SetStatusCondition(cs, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: shorten(message), ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
	})
}

// Since returns when a run or restore was first seen, which is when its Reconciling condition was set. Before that it
// returns now.
func Since(cs []metav1.Condition, now time.Time) time.Time {
	if c := apimeta.FindStatusCondition(cs, meta.ReconcilingCondition); c != nil {
		return c.LastTransitionTime.Time
	}
	return now
}

// maxMessage is the longest message that the API allows.
const maxMessage = 2048

// shorten cuts a message to the length that the API allows.
func shorten(s string) string { return cut(s, maxMessage) }

// cut shortens a text to at most limit bytes, without splitting a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	at := limit - len("…")
	for at > 0 && s[at]&0xC0 == 0x80 {
		at--
	}
	return s[:at] + "…"
}
