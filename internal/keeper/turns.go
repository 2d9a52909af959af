package keeper

import (
	"cmp"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

const (
	// slowAgain is the time after which a series whose check took too long is tried again, if there are others.
	slowAgain = 4 * fullEvery
	// slowPause is the time between two such tries. It is longer than a week: others are checked meanwhile.
	slowPause = fullEvery + quickEvery/2
	// slowStarves is the time without any such try after which one goes before damage that restores have met: they can
	// meet some each day.
	slowStarves = slowAgain + slowAgain/2
)

// slowSeries are the Snapshots of a series whose checks take too long, or would most likely: they would hold up all
// others.
type slowSeries struct {
	// tried are those whose check took too long, at least one, in the order of these checks.
	tried []*v1alpha1.Snapshot
	// waiting were never checked, and are like these. The newest come first. The one that is the farthest from all of
	// which something is known is so far away.
	waiting  []*v1alpha1.Snapshot
	farthest *v1alpha1.Snapshot
	away     time.Duration
	// size is the number of all Snapshots of the series.
	size int
}

func (s *slowSeries) add(o *v1alpha1.Snapshot, away time.Duration) {
	switch {
	case isSlow(o):
		s.tried = append(s.tried, o)
		return
	case s.farthest == nil || away > s.away:
		s.farthest, s.away = o, away
	}
	s.waiting = append(s.waiting, o)
}

func (s *slowSeries) sort(now time.Time) {
	slices.SortFunc(s.tried, func(a, b *v1alpha1.Snapshot) int {
		return cmp.Or(triedAt(a, now).Compare(triedAt(b, now)), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(s.waiting, func(a, b *v1alpha1.Snapshot) int {
		return cmp.Or(madeBy(b, now).Compare(madeBy(a, now)), cmp.Compare(a.Name, b.Name))
	})
}

// last returns when the series was tried last: a check took too long, or a part of what waits was in time.
func (s *slowSeries) last(now time.Time) time.Time {
	at := triedAt(s.tried[len(s.tried)-1], now)
	for _, o := range s.waiting {
		if t := o.Status.LastUpdateTime; t != nil && begun(o) && !isAhead(t.Time, now) {
			at = v1alpha1.Later(at, t.Time)
		}
	}
	return at
}

// dueSlow returns one component of a slow Snapshot that is tried although there are others, or none.
func dueSlow(slow []*slowSeries, now time.Time) []task.Checked {
	if len(slow) == 0 || now.Sub(slow[len(slow)-1].last(now)) < slowPause {
		return nil
	}
	for _, s := range slow {
		if s.due(now) {
			return s.next(now)
		}
	}
	return nil
}

// starved reports whether none of the slow Snapshots, at least one, was tried for so long that it is their turn
// whatever else there is.
func starved(slow []*slowSeries, now time.Time) bool {
	return now.Sub(slow[len(slow)-1].last(now)) >= slowStarves
}

// due reports whether the series is tried although there are others. After a try that was in time another one follows,
// but each second week is for the others.
func (s *slowSeries) due(now time.Time) bool {
	ago := now.Sub(s.last(now))
	return s.fades(now) || ago >= slowAgain && ago/fullEvery%2 == 0
}

// fades reports whether most of the series is newer than what took too long. Retention removes that first, as a rule,
// and with it what is known: the next check would have all of the series.
func (s *slowSeries) fades(now time.Time) bool {
	newest := s.newestTried(now)
	newer := slices.IndexFunc(s.waiting, func(o *v1alpha1.Snapshot) bool { return !madeBy(o, now).After(newest) })
	if newer < 0 {
		newer = len(s.waiting)
	}
	return 2*newer > s.size
}

func (s *slowSeries) newestTried(now time.Time) (at time.Time) {
	for _, o := range s.tried {
		at = v1alpha1.Later(at, madeBy(o, now))
	}
	return at
}

// next returns the component that is tried next. Each second try is of the newest that waits. The other ones are of
// what took too long. What waits far from all that is known goes before that: it tells most of the rest.
func (s *slowSeries) next(now time.Time) []task.Checked {
	last := s.tried[len(s.tried)-1]
	newest := s.fades(now) || len(s.tried) == 1 || madeBy(last, now).Before(s.newestTried(now))
	switch {
	case len(s.waiting) > 0 && newest:
		return s.firstOf(s.waiting[0], now)
	case s.away > slowAgain:
		return s.firstOf(s.farthest, now)
	}
	all := turned(s.tried[0], componentsOf(s.tried[0], now), now)
	return all[:min(len(all), 1)]
}

// firstOf returns a component of a Snapshot that waits: the first that was never in time where a check took too long.
// If it is in time here, the rest of the Snapshot most likely is.
func (s *slowSeries) firstOf(waiting *v1alpha1.Snapshot, now time.Time) []task.Checked {
	all := componentsOf(waiting, now)
	first := max(0, slices.IndexFunc(all, func(c task.Checked) bool {
		return !slices.ContainsFunc(s.tried, func(o *v1alpha1.Snapshot) bool {
			return o.Status.Components[c.Component].Integrity != nil
		})
	}))
	return all[first:min(len(all), first+1)]
}
