package keeper

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
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

// series is what makes Snapshots alike: what takes long in one of them takes long in those of about the same time.
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

// known is a Snapshot of which something is known: its check was in time, or took too long.
type known struct {
	*v1alpha1.Snapshot
	made time.Time
	slow bool
}

// slowOf returns what is known of each series in which a check took too long. If one of its Snapshots was in time
// before, the storage was slow: a later check that was in time ends that for all. Otherwise each is too large until its
// own check tells otherwise, whatever the others are like.
func slowOf(all []*v1alpha1.Snapshot, now time.Time) map[series][]known {
	done, storage := map[series]time.Time{}, map[series]bool{}
	for _, s := range all {
		of, at := seriesOf(s), checkedAt(s, now)
		done[of], storage[of] = latest(done[of], at), storage[of] || isSlow(s) && !at.IsZero()
	}
	out := map[series][]known{}
	for _, s := range all {
		of := seriesOf(s)
		slow := isSlow(s) && !(storage[of] && done[of].After(triedAt(s, now)))
		if slow || !checkedAt(s, now).IsZero() {
			out[of] = append(out[of], known{s, madeBy(s, now), slow})
		}
	}
	maps.DeleteFunc(out, func(_ series, all []known) bool {
		return !slices.ContainsFunc(all, func(k known) bool { return k.slow })
	})
	return out
}

// likeSlow reports whether a Snapshot counts as slow by what is known of its series. One that was never checked is like
// the nearest in time of which something is known: a target grows, shrinks, or has one Snapshot that is large. away is
// how far that is.
func likeSlow(s *v1alpha1.Snapshot, all []known, now time.Time) (slow bool, away time.Duration) {
	made, away := madeBy(s, now), math.MaxInt64*time.Nanosecond
	for _, k := range all {
		if k.Snapshot == s {
			return k.slow, 0
		}
		if d := k.made.Sub(made).Abs(); d < away || d == away && !k.slow {
			slow, away = k.slow, d
		}
	}
	return slow && lacks(s, nil), away
}

// splitSlow splits off the slow Snapshots, by their series. The one that was tried first comes first.
func splitSlow(all []*v1alpha1.Snapshot, now time.Time) (slow []*slowSeries, others []*v1alpha1.Snapshot) {
	about, found := slowOf(all, now), map[series]*slowSeries{}
	for of := range about {
		found[of] = &slowSeries{}
	}
	for _, s := range all {
		of := found[seriesOf(s)]
		if of == nil {
			others = append(others, s)
			continue
		}
		of.size++
		if slow, away := likeSlow(s, about[seriesOf(s)], now); slow {
			of.add(s, away)
		} else {
			others = append(others, s)
		}
	}
	for _, s := range found {
		s.sort(now)
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *slowSeries) int {
		return cmp.Or(a.last(now).Compare(b.last(now)), cmp.Compare(a.tried[0].Name, b.tried[0].Name))
	}), others
}
