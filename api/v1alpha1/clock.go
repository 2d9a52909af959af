package v1alpha1

import "time"

// ClockTolerance is how far clocks are allowed to differ before Cairn says so, or refuses to decide.
const ClockTolerance = 5 * time.Minute

// Ahead reports whether a time lies so far after now that only a clock that was wrong can have written it. Whoever
// waited for such a time would wait for years.
func Ahead(t, now time.Time) bool { return t.Sub(now) > ClockTolerance }

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Happened returns a time of an object, or when the API server created the object if that time is still to come, or the
// zero time if both are. Whoever looks for the last of several must compare these times: otherwise one that a clock of
// the future wrote stays the last until then.
func Happened(at, created, now time.Time) time.Time {
	for _, t := range []time.Time{at, created} {
		if !Ahead(t, now) {
			return t
		}
	}
	return time.Time{}
}
