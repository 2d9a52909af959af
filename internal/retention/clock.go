package retention

import (
	"sync"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	// settle is how long a clock must have run steadily before it decides, after it jumped, or after the manager
	// started in a cluster that seems to have stood still.
	settle = time.Hour
	// stoodStill is the age of the newest Snapshot from which a cluster seems to have stood still, or the clock to have
	// jumped while no manager ran.
	stoodStill = 7 * 24 * time.Hour
)

// Clocks are the times that a removal rests on. A removal can't be taken back, and a clock that jumped ahead makes
// every Snapshot too old.
type Clocks struct {
	// Now is the manager's time, Server the time of the API server.
	Now, Server time.Time
	// Newest is the latest creationTimestamp that See counted. It is zero if there is none.
	Newest time.Time
	// Oldest is the earliest time of a backup that See was told. It decides if there is no Newest: while all Snapshots
	// are new, no time has passed in which the cluster can have stood still, unless a scan made them of old backups.
	Oldest time.Time
	// Ahead reports that Wrote counted a time that is still to come.
	Ahead bool
	// Steady is for how long the manager's clock has run like a stopwatch, and Jumped reports that it has not always.
	Steady time.Duration
	Jumped bool
}

// See counts the creationTimestamp that the API server gave to a Snapshot of the Repository. One of the last hour says
// nothing: a wrong clock with which a node boots begins the runs of the slots that seem to have passed at once. made is
// when the backup was made.
func (c *Clocks) See(created, made time.Time) {
	if c.Oldest.IsZero() || made.Before(c.Oldest) {
		c.Oldest = made
	}
	if c.Now.Sub(created) >= settle && created.After(c.Newest) {
		c.Newest = created
	}
}

// Wrote counts a time that the API server or a manager wrote. If it is still to come, either the clock of then was
// ahead, or the one of now is behind.
func (c *Clocks) Wrote(at time.Time) {
	c.Ahead = c.Ahead || v1alpha1.Ahead(at, c.Now)
}

// Noted counts when the notice of a default began, as Wrote does.
func (c *Clocks) Noted(known *v1alpha1.DefaultRetention) {
	if known != nil && known.RemovesAfter != nil {
		c.Wrote(known.RemovesAfter.Add(-notice))
	}
}

// Doubt says why the manager's clock must not decide now. It returns "" if there is no doubt.
func (c Clocks) Doubt() string {
	switch {
	case c.Server.Sub(c.Now).Abs() > v1alpha1.ClockTolerance:
		return "the clocks of the manager and of the API server differ: correct them"
	case c.Steady < settle && c.Jumped:
		return "the clock of the manager has jumped: Cairn waits an hour in case it jumps back"
	case c.Steady < settle && !c.Newest.IsZero() && c.Now.Sub(c.Newest) > stoodStill:
		return "the newest Snapshot is very old, and the manager has just started: Cairn waits an hour in case its " +
			"clock is wrong"
	case c.Steady < settle && c.Newest.IsZero() && !c.Oldest.IsZero() && c.Now.Sub(c.Oldest) > stoodStill:
		return "all Snapshots are new but hold old backups, and the manager has just started: Cairn waits an hour in " +
			"case its clock is wrong"
	case c.Steady < settle && c.Ahead:
		return "objects seem to be made in the future, and the manager has just started: Cairn waits an hour in case " +
			"its clock is behind"
	}
	return ""
}

// Steadiness compares a clock with a stopwatch. The zero value is ready for use; it is safe for concurrent use.
type Steadiness struct {
	mu        sync.Mutex
	started   bool
	wall      time.Time
	stopwatch time.Duration
	since     time.Duration
	jumped    bool
}

// Look takes a look at both: now is the clock's time, stopwatch the time since the start of the process. It returns for
// how long the clock has run steadily, and whether it ever jumped.
func (s *Steadiness) Look(now time.Time, stopwatch time.Duration) (steady time.Duration, jumped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started && (now.Sub(s.wall)-(stopwatch-s.stopwatch)).Abs() > v1alpha1.ClockTolerance {
		s.since, s.jumped = stopwatch, true
	}
	s.started, s.wall, s.stopwatch = true, now, stopwatch
	return stopwatch - s.since, s.jumped
}

// Settled takes a look, and reports whether the clock has run steadily for so long that it decides.
func (s *Steadiness) Settled(now time.Time, stopwatch time.Duration) bool {
	steady, _ := s.Look(now, stopwatch)
	return steady >= settle
}
