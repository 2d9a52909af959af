// Package maintenance decides when a repository is maintained. It is pure.
package maintenance

import (
	"hash/fnv"
	"time"

	"github.com/cairn-backup/cairn/internal/task"
)

const (
	// QuickEvery and FullEvery are how often a repository in use is maintained.
	QuickEvery = 24 * time.Hour
	FullEvery  = 7 * 24 * time.Hour

	// A quick one has nothing to do once it ran this long after the last change; until then it also looks whether data that
	// was removed came back.
	quickSettled = 4 * 24 * time.Hour
	// The same for a full one: what nothing refers to is collected in two rounds.
	fullSettled = 2 * FullEvery
)

// State is what is known of a repository.
type State struct {
	// Identity spreads the repositories of a cluster over the day and the week.
	Identity string
	// Created is when the repository was made.
	Created time.Time
	// Changed is when it was last written to. Zero: never.
	Changed time.Time
	// Quick and Full are when it was maintained last. Zero: never.
	Quick, Full time.Time
	// Damaged says that the last check found something damaged or missing.
	Damaged bool
}

// Due says which maintenance is due, empty for none, and when to ask again if nothing changes; zero is never.
func Due(s State, now time.Time) (task.Maintenance, time.Time) {
	if s.Changed.IsZero() {
		return "", time.Time{}
	}
	full := next(s, s.Full, FullEvery, fullSettled)
	if s.Damaged && !s.Full.IsZero() {
		full = s.Full.Add(QuickEvery) // until it is mended, whatever else happens there
	}
	quick := next(s, latest(s.Quick, s.Full), QuickEvery, quickSettled)
	switch {
	case !full.IsZero() && !now.Before(full):
		return task.MaintainFull, now.Add(QuickEvery)
	case !quick.IsZero() && !now.Before(quick):
		return task.MaintainQuick, now.Add(QuickEvery)
	case full.IsZero() || !quick.IsZero() && quick.Before(full):
		return "", quick
	}
	return "", full
}

// next is when a sort of maintenance is due, zero where nothing has happened since the last that mattered.
func next(s State, last time.Time, every, settled time.Duration) time.Time {
	if last.IsZero() {
		return s.Created.Add(every/24 + jitter(s.Identity, every*23/24))
	}
	if !last.Before(s.Changed.Add(settled)) {
		return time.Time{}
	}
	return last.Add(every)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// jitter is less than limit and always the same for an identity.
func jitter(identity string, limit time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(identity))
	return time.Duration(h.Sum64() % uint64(limit))
}
