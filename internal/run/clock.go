package run

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Latest returns now, or when the API server made the object for which something is decided, if that is later: then the
// clock of the manager is behind.
func Latest(now time.Time, made metav1.Time) time.Time {
	if made.After(now) {
		return made.Time
	}
	return now
}

// CompareTimes compares two times of which one wins. One that is still to come is of a clock that was ahead: it counts
// as earlier than one that has passed, else it would win until then.
func CompareTimes(a, b, now time.Time) int {
	if ahead := v1alpha1.Ahead(a, now); ahead != v1alpha1.Ahead(b, now) {
		if ahead {
			return -1
		}
		return 1
	}
	return a.Compare(b)
}

// Moment is when something happened, for whoever looks for the last of several. The zero value is before all others.
type Moment struct {
	// At is what v1alpha1.Happened returns.
	At time.Time
	// told is what was written, by a clock that can have been ahead.
	told time.Time
}

// MomentOf returns the Moment of what an object says: the time that is written there, and when it was created.
func MomentOf(told, created, now time.Time) Moment {
	return Moment{v1alpha1.Happened(told, created, now), told}
}

// Compare compares two Moments. Those of which nobody knows when they were are before all others: among them the clock
// that was ahead decides.
func (m Moment) Compare(o Moment) int {
	if m.At.IsZero() && o.At.IsZero() {
		return m.told.Compare(o.told)
	}
	return m.At.Compare(o.At)
}

// Waited returns for how long something was waited for since the API server made it. If that is still to come, the time
// since start counts, which is of the clock of the manager.
func Waited(made time.Time, start *metav1.Time, now time.Time) time.Duration {
	if start != nil && v1alpha1.Ahead(made, now) {
		made = start.Time
	}
	return now.Sub(made)
}

// MayStillBind reports whether the pod of a Job has no node because its volumes can still come: they have been waited
// for since then, and can take limit. See Waited for start.
func MayStillBind(job Job, since time.Time, start *metav1.Time, limit time.Duration, now time.Time) bool {
	return job.Reason == v1alpha1.ReasonUnschedulable && !job.Finished && Waited(since, start, now) < limit
}

// Left returns how much of a wait is left that lasts for the duration in all and ends at until. It is never longer than
// that: if more seems to be left, a clock that was ahead has written until, and nothing is left.
func Left(until time.Time, in time.Duration, now time.Time) time.Duration {
	left := until.Sub(now)
	if left > in+v1alpha1.ClockTolerance {
		return 0
	}
	return max(left, 0)
}

// Restart returns the start and the deadline of a run or restore as they are, unless a clock that was ahead has written
// them: then it starts now. Nil is no deadline.
func Restart(
	start, deadline *metav1.Time, timeout *metav1.Duration, now time.Time,
) (newStart, newDeadline *metav1.Time) {
	if start == nil || !v1alpha1.Ahead(start.Time, now) {
		return start, deadline
	}
	at := metav1.NewTime(now).Rfc3339Copy()
	if timeout != nil {
		_, deadline = Bounds(timeout.Duration, at)
	}
	return &at, deadline
}
