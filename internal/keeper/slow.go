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

// Slow reports whether the check of a component alone took too long, or was late.
func (u *Undone) Slow() bool {
	return len(u.Check) == 1 && (u.Reason == v1alpha1.ReasonDeadlineExceeded || u.Late)
}

// MarkSlow writes to the Snapshot of a component that it is not checked: a check of the component alone took too long,
// or was late, as reason tells. If it was late, its keeper can have as much else to do the next time.
func MarkSlow(s *v1alpha1.Snapshot, c task.Checked, reason, message string, at metav1.Time) {
	if s.UID != c.UID || s.Status.Components[c.Component].ID != c.ID {
		return // It was recreated since.
	}
	apimeta.RemoveStatusCondition(&s.Status.Conditions, v1alpha1.ConditionChecked) // Each try has its time.
	apimeta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionChecked, Status: metav1.ConditionFalse, Reason: reason, Message: message,
		LastTransitionTime: at, ObservedGeneration: s.Generation,
	})
}

// series is what makes Snapshots alike: what takes long in one of them takes long in those of about the same time.
type series struct {
	target  v1alpha1.TypedObjectReference
	session string
}

func seriesOf(s *v1alpha1.Snapshot) series { return series{s.Spec.AppRef, s.Spec.Session} }

// isSlow reports whether the check of a component of a Snapshot took too long, or was late.
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

// known is what is known of the Snapshots that were made at a time: a check was in time, or took too long.
type known struct {
	made time.Time
	slow bool
}

// knowledge is what is known of a series.
type knowledge struct {
	// own says of each Snapshot of which something is known whether it counts as slow.
	own map[*v1alpha1.Snapshot]bool
	// all is the same by time, with one entry for each: one in time goes before one that was slow.
	all []known
}

// slowOf returns what is known of each series in which a check took too long. If one of its Snapshots was in time
// before, the storage was slow: a later check that was in time ends that for all. Otherwise each is too large until its
// own check tells otherwise, whatever the others are like.
func slowOf(all []*v1alpha1.Snapshot, now time.Time) map[series]*knowledge {
	done, storage := map[series]time.Time{}, map[series]bool{}
	for _, s := range all {
		of, at := seriesOf(s), checkedAt(s, now)
		done[of], storage[of] = v1alpha1.Later(done[of], at), storage[of] || isSlow(s) && !at.IsZero()
	}
	out := map[series]*knowledge{}
	for _, s := range all {
		of := seriesOf(s)
		slow := isSlow(s) && !(storage[of] && done[of].After(triedAt(s, now)))
		if !slow && checkedAt(s, now).IsZero() {
			continue
		}
		k := out[of]
		if k == nil {
			k = &knowledge{own: map[*v1alpha1.Snapshot]bool{}}
			out[of] = k
		}
		k.own[s], k.all = slow, append(k.all, known{madeBy(s, now), slow})
	}
	maps.DeleteFunc(out, func(_ series, k *knowledge) bool {
		return !slices.ContainsFunc(k.all, func(k known) bool { return k.slow })
	})
	for _, k := range out {
		k.sort()
	}
	return out
}

// sort brings all into its order.
func (k *knowledge) sort() {
	slices.SortFunc(k.all, func(a, b known) int {
		switch order := a.made.Compare(b.made); {
		case order != 0 || a.slow == b.slow:
			return order
		case a.slow:
			return 1
		default:
			return -1
		}
	})
	k.all = slices.CompactFunc(k.all, func(a, b known) bool { return a.made.Equal(b.made) })
}

// likeSlow reports whether a Snapshot counts as slow by what is known of its series. One that was never checked is like
// the nearest in time of which something is known: a target grows, shrinks, or has one Snapshot that is large. away is
// how far that is.
func (k *knowledge) likeSlow(s *v1alpha1.Snapshot, now time.Time) (slow bool, away time.Duration) {
	if slow, known := k.own[s]; known {
		return slow, 0
	}
	made, away := madeBy(s, now), math.MaxInt64*time.Nanosecond
	next, _ := slices.BinarySearchFunc(k.all, made, func(k known, at time.Time) int { return k.made.Compare(at) })
	for _, near := range k.all[max(next-1, 0):min(next+1, len(k.all))] {
		if d := near.made.Sub(made).Abs(); d < away || d == away && !near.slow {
			slow, away = near.slow, d
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
		if slow, away := about[seriesOf(s)].likeSlow(s, now); slow {
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
