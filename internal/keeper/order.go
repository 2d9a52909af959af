package keeper

import (
	"cmp"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// oldEvery makes one in so many of the Snapshots that were never checked the oldest of them.
const oldEvery = 4

// inOrder sorts Snapshots into the order in which they are checked. Those that were never checked come first: of what a
// scan has made the newest count most, and are protected only for some days. But each fourth is the oldest of them,
// which would not get its turn otherwise where more come than a check can look at. If the last check has looked only at
// newer ones, the oldest comes first. One of which a part was checked comes before them, so that it is finished. Then
// come the others, first those whose last check is the oldest. A check that is still to come is none: a clock was
// ahead.
func inOrder(snapshots []*v1alpha1.Snapshot, now time.Time) []*v1alpha1.Snapshot {
	slices.SortFunc(snapshots, func(a, b *v1alpha1.Snapshot) int {
		return cmp.Or(checkedAt(a, now).Compare(checkedAt(b, now)), beginning(a)-beginning(b),
			madeBy(b, now).Compare(madeBy(a, now)), cmp.Compare(a.Name, b.Name))
	})
	never, checked := snapshots, []*v1alpha1.Snapshot(nil)
	if i := slices.IndexFunc(snapshots, func(s *v1alpha1.Snapshot) bool {
		return !checkedAt(s, now).IsZero()
	}); i >= 0 {
		never, checked = snapshots[:i], snapshots[i:]
	}
	out := make([]*v1alpha1.Snapshot, 0, len(snapshots))
	for ; len(never) > 0 && begun(never[0]); never = never[1:] {
		out = append(out, never[0])
	}
	turn := 0
	if len(never) > 0 && leftOut(never[len(never)-1], checked, now) {
		turn = oldEvery - 1
	}
	for ; len(never) > 0; turn++ {
		if last := len(never) - 1; turn%oldEvery == oldEvery-1 {
			out, never = append(out, never[last]), never[:last]
		} else {
			out, never = append(out, never[0]), never[1:]
		}
	}
	return append(out, checked...)
}

// leftOut reports whether the last check has looked only at Snapshots that are newer than this one. checked are all
// that have been checked, in the order of their checks.
func leftOut(oldest *v1alpha1.Snapshot, checked []*v1alpha1.Snapshot, now time.Time) bool {
	if len(checked) == 0 {
		return false
	}
	at := checkedAt(checked[len(checked)-1], now)
	return !slices.ContainsFunc(checked, func(s *v1alpha1.Snapshot) bool {
		return checkedAt(s, now).Equal(at) && !madeBy(s, now).After(madeBy(oldest, now))
	})
}

// beginning returns 0 for a Snapshot of which a part was checked, and 1 for others.
func beginning(s *v1alpha1.Snapshot) int {
	if begun(s) {
		return 0
	}
	return 1
}

// madeBy returns when a Snapshot was made; zero if that is not known.
func madeBy(s *v1alpha1.Snapshot, now time.Time) time.Time {
	if at := s.MadeBy(now); at != nil {
		return at.Time
	}
	return time.Time{}
}

// checkedAt returns when a Snapshot was checked last; zero if it never was.
func checkedAt(s *v1alpha1.Snapshot, now time.Time) time.Time {
	if at := s.Status.LastCheckTime; at != nil && !isAhead(at.Time, now) {
		return at.Time
	}
	return time.Time{}
}
