package keeper

import (
	"cmp"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

const (
	// slowAgain is the time after which a component whose check took too long is tried again, if there are others.
	slowAgain = 4 * fullEvery
	// slowPause is the time between two such tries. Others are checked meanwhile.
	slowPause = fullEvery
)

// MarkSlow writes to the Snapshot of a component that it is not checked: a check of the component alone took too long.
func MarkSlow(s *v1alpha1.Snapshot, c task.Checked, message string, at metav1.Time) {
	if s.UID != c.UID || s.Status.Components[c.Component].ID != c.ID {
		return // It was recreated since.
	}
	apimeta.RemoveStatusCondition(&s.Status.Conditions, v1alpha1.ConditionChecked) // Each try has its time.
	apimeta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionChecked, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDeadlineExceeded,
		Message: message, LastTransitionTime: at, ObservedGeneration: s.Generation,
	})
}

// isSlow reports whether the check of a component of a Snapshot took too long.
func isSlow(s *v1alpha1.Snapshot) bool {
	return apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionChecked) != nil
}

// triedAt returns when that was. A time that is still to come is none: a clock was ahead.
func triedAt(s *v1alpha1.Snapshot, now time.Time) time.Time {
	c := apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionChecked)
	if c == nil || isAhead(c.LastTransitionTime.Time, now) {
		return time.Time{}
	}
	return c.LastTransitionTime.Time
}

// splitSlow splits off the Snapshots that have a component whose check takes too long: they would hold up all others.
// They come in the order of their last tries.
func splitSlow(all []*v1alpha1.Snapshot, now time.Time) (slow, others []*v1alpha1.Snapshot) {
	for _, s := range all {
		if isSlow(s) {
			slow = append(slow, s)
		} else {
			others = append(others, s)
		}
	}
	slices.SortFunc(slow, func(a, b *v1alpha1.Snapshot) int {
		return cmp.Or(triedAt(a, now).Compare(triedAt(b, now)), cmp.Compare(a.Name, b.Name))
	})
	return slow, others
}

// slowDue reports whether one of the slow Snapshots, as splitSlow returns them, is tried again although there are
// others.
func slowDue(slow []*v1alpha1.Snapshot, now time.Time) bool {
	n := len(slow)
	return n > 0 && now.Sub(triedAt(slow[0], now)) >= slowAgain && now.Sub(triedAt(slow[n-1], now)) >= slowPause
}

// slowest returns one component of the first slow Snapshot: another one each day.
func slowest(slow []*v1alpha1.Snapshot, now time.Time) []task.Checked {
	if len(slow) == 0 {
		return nil
	}
	all := turned(slow[0], componentsOf(slow[0], now), now)
	return all[:min(len(all), 1)]
}
