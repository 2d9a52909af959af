package keeper

import (
	"cmp"
	"maps"
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

// series is what makes Snapshots alike: what takes long in one of them takes long in the next one.
type series struct {
	target  v1alpha1.TypedObjectReference
	session string
}

func seriesOf(s *v1alpha1.Snapshot) series { return series{s.Spec.AppRef, s.Spec.Session} }

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

// slowSnapshots are Snapshots that have a component whose check takes too long: they would hold up all others.
type slowSnapshots struct {
	// all begin with the series that was tried first, and in it with what was never tried, the newest first.
	all []*v1alpha1.Snapshot
	// marked are those whose own check took too long, in the order of the tries of their series, and of their own.
	marked []*v1alpha1.Snapshot
	// next is when one of the first one's series was tried last, and last when one of any series was.
	next, last time.Time
}

// splitSlow splits off the slow Snapshots: those whose check took too long, and what was never checked of their series.
// A series is slow until one of its Snapshots was checked after that.
func splitSlow(all []*v1alpha1.Snapshot, now time.Time) (slow slowSnapshots, others []*v1alpha1.Snapshot) {
	tried := triedSeries(all, now)
	for _, s := range all {
		_, known := tried[seriesOf(s)]
		switch {
		case known && isSlow(s):
			slow.marked = append(slow.marked, s)
			slow.all = append(slow.all, s)
			slow.last = latest(slow.last, triedAt(s, now))
		case known && lacks(s, nil):
			slow.all = append(slow.all, s)
		default:
			others = append(others, s)
		}
	}
	inTurn := func(a, b *v1alpha1.Snapshot) int {
		return cmp.Or(tried[seriesOf(a)].Compare(tried[seriesOf(b)]), triedAt(a, now).Compare(triedAt(b, now)),
			madeBy(b, now).Compare(madeBy(a, now)), cmp.Compare(a.Name, b.Name))
	}
	slices.SortFunc(slow.all, inTurn)
	slices.SortFunc(slow.marked, inTurn)
	if len(slow.marked) > 0 {
		slow.next = tried[seriesOf(slow.marked[0])]
	}
	return slow, others
}

// triedSeries returns the slow series, and when one of their Snapshots was tried last.
func triedSeries(all []*v1alpha1.Snapshot, now time.Time) map[series]time.Time {
	tried, done := map[series]time.Time{}, map[series]time.Time{}
	for _, s := range all {
		of := seriesOf(s)
		if isSlow(s) {
			tried[of] = latest(tried[of], triedAt(s, now))
		}
		done[of] = latest(done[of], checkedAt(s, now))
	}
	maps.DeleteFunc(tried, func(of series, at time.Time) bool { return done[of].After(at) })
	return tried
}

// due returns one component of a slow Snapshot that is tried again although there are others, or none. It is one of a
// Snapshot whose check took too long before, because only that tells whether the series is still slow.
func (s slowSnapshots) due(now time.Time) []task.Checked {
	if now.Sub(s.next) < slowAgain || now.Sub(s.last) < slowPause {
		return nil
	}
	return firstOf(s.marked, now)
}

// firstOf returns one component of the first Snapshot: another one each day.
func firstOf(snapshots []*v1alpha1.Snapshot, now time.Time) []task.Checked {
	if len(snapshots) == 0 {
		return nil
	}
	all := turned(snapshots[0], componentsOf(snapshots[0], now), now)
	return all[:min(len(all), 1)]
}
