// Package keeper decides what keepers do: which repositories are maintained, wiped or checked, and when, which
// Snapshots lose their data, how much fits into one Job, when a failure is tried again, and what a result means for the
// Repository and its Snapshots. It is pure.
package keeper

import (
	"hash/fnv"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

const (
	// quickEvery and fullEvery are the intervals of quick and full maintenance of a repository in use.
	quickEvery = 24 * time.Hour
	fullEvery  = 7 * 24 * time.Hour

	// Quick maintenance has nothing left to do once it ran this long after the last change. Until then it also checks
	// whether removed data came back.
	quickSettled = 4 * 24 * time.Hour
	// Full maintenance needs longer: data goes in the third round, its packs in the one after, because kopia deletes
	// none within an hour of a move, and a move that fails on a full storage can cost one more.
	fullSettled = 5 * fullEvery
)

// maxAhead is how far a stored time can be ahead of the manager's clock. A time that is further ahead comes from a
// clock that was wrong, and says nothing: it must not stop a keeper until it has come.
const maxAhead = time.Hour

// isAhead reports whether a stored time says nothing.
func isAhead(t, now time.Time) bool { return t.After(now.Add(maxAhead)) }

// State is what the manager knows about a repository.
type State struct {
	// Identity spreads the repositories of a cluster over the day and the week.
	Identity string
	// Created is when the repository was created.
	Created time.Time
	// Changed is when it was last written to; zero if never.
	Changed time.Time
	// Quick and Full are when each kind of maintenance last ran; zero if never.
	Quick, Full time.Time
	// Unsound reports that the last check found something damaged or missing, or could not be done, or that a restore
	// has met damage since.
	Unsound bool
}

// due returns the maintenance that is due, or "", and the time to ask again if nothing changes; zero means never.
func due(s State, now time.Time) (task.Maintenance, time.Time) {
	if s.Changed.IsZero() {
		return "", time.Time{}
	}
	for _, t := range []*time.Time{&s.Created, &s.Quick, &s.Full} {
		if isAhead(*t, now) {
			*t = time.Time{}
		}
	}
	if isAhead(s.Changed, now) {
		s.Changed = now
	}
	full := next(s, s.Full, fullEvery, fullSettled)
	if s.Unsound {
		full = s.Full.Add(quickEvery) // Until a check finds the repository intact, even if nothing else changes there.
	}
	quick := next(s, v1alpha1.Later(s.Quick, s.Full), quickEvery, quickSettled)
	switch {
	case !full.IsZero() && !now.Before(full):
		return task.MaintainFull, now.Add(quickEvery)
	case !quick.IsZero() && !now.Before(quick):
		return task.MaintainQuick, now.Add(quickEvery)
	case full.IsZero() || !quick.IsZero() && quick.Before(full):
		return "", quick
	}
	return "", full
}

// next returns when a kind of maintenance is due next; zero if nothing has happened since the last run that mattered.
func next(s State, last time.Time, every, settled time.Duration) time.Time {
	if last.IsZero() {
		return s.Created.Add(every/24 + jitter(s.Identity, every*23/24))
	}
	if !last.Before(s.Changed.Add(settled)) {
		return time.Time{}
	}
	return last.Add(every)
}

// jitter returns a duration below limit that depends only on the identity.
func jitter(identity string, limit time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(identity))
	return time.Duration(h.Sum64() % uint64(limit))
}
