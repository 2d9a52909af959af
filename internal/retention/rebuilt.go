package retention

import "time"

// rebuilt says why a Snapshot that a scan made stays. It returns "" if the policy decides about it.
func (s *Snapshot) rebuilt(now time.Time) string {
	switch {
	case now.Before(s.Unchecked):
		return "not checked yet"
	case now.Before(s.Gathering):
		return "its restore point can still grow"
	}
	return ""
}

// lookAhead sets what goes, and when, once the Snapshots that a scan made are decided on as others are. Those that are
// damaged or missing were no reason until then to let go of another one.
func (p Policy) lookAhead(verdicts []Verdict, snapshots []Snapshot, now time.Time) {
	var end time.Time
	for i := range snapshots {
		for _, at := range []time.Time{snapshots[i].Unchecked, snapshots[i].Gathering} {
			if at.After(now) && (end.IsZero() || at.Before(end)) {
				end = at
			}
		}
	}
	if end.IsZero() {
		return
	}
	then := map[string]Verdict{}
	for _, v := range p.Decide(snapshots, end) {
		then[v.Name] = v
	}
	for i := range verdicts {
		v := &verdicts[i]
		switch is := then[v.Name]; {
		case v.Goes() || !v.Until.IsZero() && !v.Until.After(end):
		case is.Goes():
			v.Until = end
		default:
			v.Until = is.Until
		}
	}
}
