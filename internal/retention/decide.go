package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Snapshot holds what a decision needs to know about a Snapshot.
type Snapshot struct {
	// Name is unique among the Snapshots that are decided on together.
	Name string
	// Repository is the Repository that holds it, and Session the session of the policy that made it. The sessions of a
	// Repository can back up different things, so the rules count each alone.
	Repository, Session string
	// Target is the BackupConfiguration that it was made from. Two that share a Repository can give their sessions one
	// name. Empty means that nothing tells it.
	Target string
	// Point is the restore point to which it belongs. All Snapshots of a point stay or go together. Empty means that
	// the Snapshot is a point by itself.
	Point string
	// Time is when it was made, and Created when the API server made the object.
	Time, Created time.Time
	// Phase is its phase. Pending and Running Snapshots stay.
	Phase v1alpha1.SnapshotPhase
	// Held is the reason why the Snapshot stays, whatever the policy says. Empty means that nothing holds it.
	Held string
	// Damaged says that a check found that data is missing, or that a restore had left its target half written. A
	// damaged Snapshot takes nobody's place: as many undamaged ones stay as if it did not exist.
	Damaged bool
	// Unchecked is until when the Snapshot stays because a scan made it and no check has looked at it: a scan does not
	// see what is damaged. Until then it takes nobody's place. Zero means that it needs no check.
	Unchecked time.Time
	// Gathering is until when the Snapshot stays because a scan made it, and others of its restore point can still be
	// missing: each Repository has its own scan.
	Gathering time.Time
}

// Keep is a reason why a Snapshot stays.
type Keep struct {
	// Rule is the rule that keeps it: one of a Policy, or one that applies to all policies.
	Rule string `json:"rule"`
	// Of names the period, or the other Snapshot, that the rule refers to.
	Of string `json:"of,omitempty"`
}

// String returns the rule, followed by Of in parentheses.
func (k Keep) String() string {
	if k.Of == "" {
		return k.Rule
	}
	return k.Rule + " (" + k.Of + ")"
}

// Rules that apply beside those of a Policy.
const (
	// KeepNewest keeps the newest successful Snapshot of each session of a Repository, and the newest undamaged one.
	KeepNewest = "newest success"
	// keepHeld keeps a Snapshot that is in use.
	keepHeld = "in use"
	// keepRebuilt keeps a Snapshot that a scan made, until it is checked and those of its restore point are there.
	keepRebuilt = "rebuilt"
	// keepUnfinished keeps a Snapshot that is being made.
	keepUnfinished = "unfinished"
	// keepFailed keeps the newest failed Snapshots.
	keepFailed = "failed last"
	// keepPeriod keeps a Snapshot that is younger than maxRetentionPeriod, if the policy has no other rule.
	keepPeriod = "maxRetentionPeriod"
	// keepPoint keeps a Snapshot whose restore point has another Snapshot that stays.
	keepPoint = "restore point"
)

// Verdict says what happens to one Snapshot.
type Verdict struct {
	Snapshot
	// Kept are all reasons why it stays. Empty means that it goes.
	Kept []Keep
	// Reason is one of the API's reasons why it goes, and Message the same as a sentence.
	Reason, Message string
	// Until is when the policy lets it go even if no other Snapshot is made. Zero means never.
	Until time.Time
}

// Goes reports whether the Snapshot goes.
func (v Verdict) Goes() bool { return len(v.Kept) == 0 }

// Decide returns a verdict for each Snapshot, newest first. Time alone never brings back a Snapshot that went. A more
// generous policy keeps everything that a stricter one keeps. Deciding again about the Snapshots that stayed changes
// nothing.
func (p Policy) Decide(snapshots []Snapshot, now time.Time) []Verdict {
	verdicts := make([]Verdict, len(snapshots))
	for i := range snapshots {
		v := &verdicts[i]
		v.Snapshot = snapshots[i]
		if happened := v1alpha1.Happened(v.Time, v.Created, now); !happened.IsZero() {
			v.Time = happened
		}
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Name, a.Name))
	})
	all := make([]*Verdict, len(verdicts))
	for i := range verdicts {
		all[i] = &verdicts[i]
	}
	for _, repository := range group(all, func(v *Verdict) string { return v.Repository }) {
		p.judgeSessions(repository, now)
	}
	for _, session := range group(all, func(v *Verdict) string { return v.Session }) {
		keepWholePoints(session, now)
	}
	completeRestorePoints(verdicts)
	for i := range verdicts {
		if v := &verdicts[i]; v.Goes() {
			v.Reason, v.Message = p.because(v, now)
		}
	}
	p.lookAhead(verdicts, snapshots, now)
	return verdicts
}

// group groups verdicts by key. The order within a group stays.
func group[K comparable](all []*Verdict, key func(*Verdict) K) map[K][]*Verdict {
	groups := map[K][]*Verdict{}
	for _, v := range all {
		groups[key(v)] = append(groups[key(v)], v)
	}
	return groups
}

// Next returns when the first of the staying Snapshots will go although no new one is made. Zero means never.
func Next(verdicts []Verdict) time.Time {
	var next time.Time
	for _, v := range verdicts {
		if !v.Goes() && !v.Until.IsZero() && (next.IsZero() || v.Until.Before(next)) {
			next = v.Until
		}
	}
	return next
}

// judge collects the reasons why the Snapshots of one session of a Repository stay. They come newest first. of says
// which session it is, if the Repository has several.
func (p Policy) judge(verdicts []*Verdict, of string, now time.Time) {
	rules, undamaged := p.counters(), p.counters()
	var succeeded, intact, failed int
	for _, v := range verdicts {
		keep := func(rule, of string) { v.Kept = append(v.Kept, Keep{rule, of}) }
		if v.Held != "" {
			keep(keepHeld, v.Held)
		}
		if rebuilt := v.rebuilt(now); rebuilt != "" {
			keep(keepRebuilt, rebuilt)
		}
		old := p.tooOld(v.Time, now)
		switch v.Phase {
		case v1alpha1.SnapshotSucceeded:
			succeeded++
			sound := v.sound(now)
			if sound {
				intact++
			}
			switch {
			case succeeded == 1:
				keep(KeepNewest, of)
			case intact == 1 && sound:
				keep(KeepNewest, strings.TrimPrefix(of+", "+notDamaged, ", "))
			}
			if !old {
				p.success(v, sound, rules, undamaged)
			}
		case v1alpha1.SnapshotFailed:
			if failed++; failed <= p.Failed && !old {
				keep(keepFailed, "")
			}
		default:
			keep(keepUnfinished, "")
		}
		p.expire(v)
	}
}

// sound reports whether a successful Snapshot takes a place. One whose time is still to come takes nobody's place, as
// one that is damaged: nobody knows how old it is. Nor does one that was not checked since a scan made it.
func (v *Verdict) sound(now time.Time) bool {
	return !v.Damaged && !v1alpha1.Ahead(v.Time, now) && !now.Before(v.Unchecked)
}

// success applies each rule to a successful Snapshot that is not too old, once among all and once among those that are
// sound: not damaged, and not of the future, and checked if a scan made them.
func (p Policy) success(v *Verdict, sound bool, rules, undamaged []counter) {
	p.counted(v, rules)
	if sound {
		p.intact(v, undamaged)
	}
}

// counted applies each rule to a Snapshot among all that succeeded.
func (p Policy) counted(v *Verdict, rules []counter) {
	if len(rules) == 0 {
		of := ""
		if p.MaxAge == 0 {
			of = "everything"
		}
		v.Kept = append(v.Kept, Keep{keepPeriod, of})
		return
	}
	for i := range rules {
		if of, ok := rules[i].keeps(v.Time); ok {
			v.Kept = append(v.Kept, Keep{rules[i].rule.Name, of})
		}
	}
}

// intact applies each rule to a Snapshot among those that are not damaged.
func (p Policy) intact(v *Verdict, rules []counter) {
	for i := range rules {
		of, ok := rules[i].keeps(v.Time)
		if name := rules[i].rule.Name; ok && !slices.ContainsFunc(v.Kept, func(k Keep) bool { return k.Rule == name }) {
			v.Kept = append(v.Kept, Keep{name, cmp.Or(of, notDamaged)})
		}
	}
}

// notDamaged explains a Snapshot that stays because newer ones are damaged.
const notDamaged = "of those that are not damaged"

// counters returns new counters of the rules.
func (p Policy) counters() []counter {
	out := make([]counter, len(p.Rules))
	for i, r := range p.Rules {
		out[i] = counter{rule: r, zone: p.Zone}
	}
	return out
}

// expire sets when age alone lets the Snapshot go, if it can.
func (p Policy) expire(v *Verdict) {
	for _, k := range v.Kept {
		switch k.Rule {
		case KeepNewest, keepHeld, keepRebuilt, keepUnfinished:
			return
		}
	}
	if p.MaxAge > 0 && !v.Goes() {
		v.Until = v.Time.Add(p.MaxAge)
	}
}

func (p Policy) tooOld(t, now time.Time) bool { return p.MaxAge > 0 && !now.Before(t.Add(p.MaxAge)) }

// counter applies one rule to Snapshots that come newest first.
type counter struct {
	rule Rule
	zone *time.Location
	used int
	last string
}

// keeps reports whether the rule keeps a Snapshot of this time, and returns its period.
func (c *counter) keeps(t time.Time) (string, bool) {
	if c.used >= c.rule.Count {
		return "", false
	}
	period := ""
	if c.rule.Name != ruleLast {
		if period = periodOf(c.rule.Name, t.In(c.zone)); c.used > 0 && period == c.last {
			return "", false
		}
	}
	c.used, c.last = c.used+1, period
	return period, true
}

// periodOf returns the period of a rule that contains a local time. The name of an hour includes its offset: when
// clocks are set back, one hour occurs twice.
func periodOf(rule string, t time.Time) string {
	switch rule {
	case ruleHourly:
		return t.Format("2006-01-02T15Z07:00")
	case ruleDaily:
		return t.Format("2006-01-02")
	case ruleWeekly:
		year, week := t.ISOWeek()
		return fmt.Sprintf("%04d-W%02d", year, week)
	case ruleMonthly:
		return t.Format("2006-01")
	default:
		return t.Format("2006")
	}
}

// completeRestorePoints keeps every Snapshot of a restore point that has a Snapshot which stays.
func completeRestorePoints(verdicts []Verdict) {
	kept := map[string]*Verdict{}
	for i := range verdicts {
		v := &verdicts[i]
		if v.Point == "" || v.Goes() {
			continue
		}
		// Of several Snapshots of a point, the one that stays longest decides.
		if other := kept[v.Point]; other == nil ||
			!other.Until.IsZero() && (v.Until.IsZero() || v.Until.After(other.Until)) {
			kept[v.Point] = v
		}
	}
	for i := range verdicts {
		v := &verdicts[i]
		because := kept[v.Point]
		if v.Point == "" || because == nil || because == v {
			continue
		}
		if v.Goes() {
			v.Kept = []Keep{{keepPoint, because.Name}}
		}
		v.Until = because.Until
	}
}

// because returns why a Snapshot goes.
func (p Policy) because(v *Verdict, now time.Time) (reason, message string) {
	switch {
	case p.tooOld(v.Time, now):
		return v1alpha1.ReasonTooOld, "it is older than maxRetentionPeriod"
	case v.Phase == v1alpha1.SnapshotFailed:
		return v1alpha1.ReasonNotKept, fmt.Sprintf("it failed, and failedSnapshots.last keeps %d", p.Failed)
	}
	names := make([]string, len(p.Rules))
	for i, r := range p.Rules {
		names[i] = fmt.Sprintf("%s: %d", r.Name, r.Count)
	}
	return v1alpha1.ReasonNotKept, "no rule of successfulSnapshots keeps it (" + strings.Join(names, ", ") + ")"
}
