package trigger

import (
	"errors"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/schedule"
)

var errUntouched = errors.New("the policy is invalid: what was scheduled before stays in force")

// Untouched says of every session that an invalid policy changes nothing in its schedule.
func Untouched(sessions []v1alpha1.SessionConfig) map[string]error {
	unscheduled := make(map[string]error, len(sessions))
	for _, session := range sessions {
		unscheduled[session.Name] = errUntouched
	}
	return unscheduled
}

// conflictRetry is how soon a name in use is tried again: nothing tells when its owner gives it up.
const conflictRetry = time.Minute

// After is when the sessions are to be looked at again: at the next slot, and soon where there are conflicts. Zero is never.
func After(now, next time.Time, conflicts map[string]error) time.Duration {
	var after time.Duration
	if !next.IsZero() {
		after = next.Sub(now)
	}
	if len(conflicts) > 0 && (after == 0 || after > conflictRetry) {
		return conflictRetry
	}
	return after
}

// Status is the state of the sessions: their next slots and whether their CronJobs are in order, which those of unscheduled
// are not. The times of conditions that did not change are those of previous. The second result is the earliest of the
// slots, zero where there is none.
func Status(previous []v1alpha1.SessionStatus, sessions []v1alpha1.SessionConfig, unscheduled map[string]error, now time.Time, generation int64) ([]v1alpha1.SessionStatus, time.Time) {
	var earliest time.Time
	statuses := make([]v1alpha1.SessionStatus, 0, len(sessions))
	for _, session := range sessions {
		status := v1alpha1.SessionStatus{Name: session.Name}
		if session.Scheduler == nil {
			statuses = append(statuses, status)
			continue
		}
		if i := slices.IndexFunc(previous, func(s v1alpha1.SessionStatus) bool { return s.Name == session.Name }); i >= 0 {
			status.Conditions = slices.Clone(previous[i].Conditions)
		}
		condition := metav1.Condition{
			Type: v1alpha1.ConditionSchedulerEnsured, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSchedulerEnsured,
			Message: "the session's CronJob is in place", LastTransitionTime: metav1.NewTime(now), ObservedGeneration: generation,
		}
		next, scheduleErr := schedule.Next(session.Scheduler.Schedule, ptr.Deref(session.Scheduler.TimeZone, ""), now)
		switch {
		case scheduleErr != nil:
			condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalidSchedule, scheduleErr.Error()
		case unscheduled[session.Name] != nil:
			condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonSchedulerNotEnsured
			condition.Message = unscheduled[session.Name].Error()
		case !ptr.Deref(session.Scheduler.Suspend, false):
			status.NextSchedule = &metav1.Time{Time: next}
			if earliest.IsZero() || next.Before(earliest) {
				earliest = next
			}
		}
		apimeta.SetStatusCondition(&status.Conditions, condition)
		statuses = append(statuses, status)
	}
	return statuses, earliest
}
