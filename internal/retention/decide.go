package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Snapshot is what a decision needs of one.
type Snapshot struct {
	// Name of the Snapshot, unique among those that are decided upon together.
	Name string
	// Repository it lies in.
	Repository string
	// Point is the restore point that it belongs to: all Snapshots of a point stay or go together. Empty: it stands for
	// itself.
	Point string
	// Time it was made.
	Time time.Time
	// Phase of it. Pending and Running ones stay.
	Phase v1alpha1.SnapshotPhase
	// Held says why it stays whatever the policy says. Empty: nothing holds it.
	Held string
	// Damaged says that a check found that data it needs is gone. It takes nobody's place: as many whole ones stay as if it were not
	// there.
	Damaged bool
}

// Keep is a reason for which a Snapshot stays.
type Keep struct {
	// Rule that keeps it: one of a Policy, or one of those that hold for all policies.
	Rule string `json:"rule"`
	// Of says of which period, or of which other Snapshot.
	Of string `json:"of,omitempty"`
}

// String is the rule, and what it is of in brackets.
func (k Keep) String() string {
	if k.Of == "" {
		return k.Rule
	}
	return k.Rule + " (" + k.Of + ")"
}

// The rules that hold beside those of a Policy.
const (
	// KeepNewest keeps the newest Snapshot of a Repository that succeeded, and the newest of those that are not damaged.
	KeepNewest = "newest success"
	// KeepHeld keeps what is in use.
	KeepHeld = "in use"
	// KeepUnfinished keeps what is being made.
	KeepUnfinished = "unfinished"
	// KeepFailed keeps the newest that failed.
	KeepFailed = "failed last"
	// KeepPeriod keeps what is younger than maxRetentionPeriod, where nothing else is said.
	KeepPeriod = "maxRetentionPeriod"
	// KeepPoint keeps what belongs to a restore point of which another Snapshot stays.
	KeepPoint = "restore point"
)

// Verdict is what becomes of one Snapshot.
type Verdict struct {
	Snapshot
	// Kept are all reasons for which it stays. Empty: it goes.
	Kept []Keep
	// Reason it goes for, one of the API's, and the same as a sentence.
	Reason, Message string
	// Until is when the policy lets go of it even if no other Snapshot is made. Zero: never.
	Until time.Time
}

// Goes says whether the Snapshot goes.
func (v Verdict) Goes() bool { return len(v.Kept) == 0 }

// Decide gives a verdict for each Snapshot, newest first. Time alone never brings back what was let go, a more generous
// policy keeps all that a stricter one keeps, and deciding again about what stayed changes nothing.
func (p Policy) Decide(snapshots []Snapshot, now time.Time) []Verdict {
	verdicts := make([]Verdict, len(snapshots))
	for i := range snapshots {
		verdicts[i].Snapshot = snapshots[i]
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Name, a.Name))
	})
	byRepository := map[string][]*Verdict{}
	for i := range verdicts {
		v := &verdicts[i]
		byRepository[v.Repository] = append(byRepository[v.Repository], v)
	}
	for _, repository := range byRepository {
		p.judge(repository, now)
	}
	whole(verdicts)
	for i := range verdicts {
		if v := &verdicts[i]; v.Goes() {
			v.Reason, v.Message = p.because(v, now)
		}
	}
	return verdicts
}

// Next is when the first of the Snapshots that stay will go without a new one being made; zero is never.
func Next(verdicts []Verdict) time.Time {
	var next time.Time
	for _, v := range verdicts {
		if !v.Goes() && !v.Until.IsZero() && (next.IsZero() || v.Until.Before(next)) {
			next = v.Until
		}
	}
	return next
}

// judge gives the reasons for which the Snapshots of one Repository stay. They come newest first.
func (p Policy) judge(verdicts []*Verdict, now time.Time) {
	rules, undamaged := p.counters(), p.counters()
	var succeeded, intact, failed int
	for _, v := range verdicts {
		keep := func(rule, of string) { v.Kept = append(v.Kept, Keep{rule, of}) }
		if v.Held != "" {
			keep(KeepHeld, v.Held)
		}
		old := p.tooOld(v.Time, now)
		switch v.Phase {
		case v1alpha1.SnapshotSucceeded:
			if succeeded++; succeeded == 1 {
				keep(KeepNewest, "")
			}
			if !v.Damaged {
				if intact++; intact == 1 && succeeded > 1 {
					keep(KeepNewest, notDamaged)
				}
			}
			if !old {
				p.success(v, rules)
				if !v.Damaged {
					p.intact(v, undamaged)
				}
			}
		case v1alpha1.SnapshotFailed:
			if failed++; failed <= p.Failed && !old {
				keep(KeepFailed, "")
			}
		default:
			keep(KeepUnfinished, "")
		}
		p.expire(v)
	}
}

// success asks each rule whether it keeps a Snapshot that succeeded and is not too old.
func (p Policy) success(v *Verdict, rules []counter) {
	if len(rules) == 0 {
		of := ""
		if p.MaxAge == 0 {
			of = "everything"
		}
		v.Kept = append(v.Kept, Keep{KeepPeriod, of})
		return
	}
	for i := range rules {
		if of, ok := rules[i].keeps(v.Time); ok {
			v.Kept = append(v.Kept, Keep{rules[i].rule.Name, of})
		}
	}
}

// intact asks each rule whether it keeps a Snapshot among those that are not damaged.
func (p Policy) intact(v *Verdict, rules []counter) {
	for i := range rules {
		of, ok := rules[i].keeps(v.Time)
		if name := rules[i].rule.Name; ok && !slices.ContainsFunc(v.Kept, func(k Keep) bool { return k.Rule == name }) {
			v.Kept = append(v.Kept, Keep{name, cmp.Or(of, notDamaged)})
		}
	}
}

// notDamaged says of what a Snapshot is that stays because newer ones are damaged.
const notDamaged = "of those that are not damaged"

// counters of the rules, at their beginning.
func (p Policy) counters() []counter {
	out := make([]counter, len(p.Rules))
	for i, r := range p.Rules {
		out[i] = counter{rule: r, zone: p.Zone}
	}
	return out
}

// expire says when age alone lets the Snapshot go, as far as it can.
func (p Policy) expire(v *Verdict) {
	for _, k := range v.Kept {
		if k.Rule == KeepNewest || k.Rule == KeepHeld || k.Rule == KeepUnfinished {
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

// keeps says whether the rule keeps a Snapshot of this time, and of which period it is.
func (c *counter) keeps(t time.Time) (string, bool) {
	if c.used >= c.rule.Count {
		return "", false
	}
	period := ""
	if c.rule.Name != RuleLast {
		if period = periodOf(c.rule.Name, t.In(c.zone)); c.used > 0 && period == c.last {
			return "", false
		}
	}
	c.used, c.last = c.used+1, period
	return period, true
}

// periodOf names the period of a rule that a local time lies in. An hour is named with its offset: when clocks are set back
// one comes twice.
func periodOf(rule string, t time.Time) string {
	switch rule {
	case RuleHourly:
		return t.Format("2006-01-02T15Z07:00")
	case RuleDaily:
		return t.Format("2006-01-02")
	case RuleWeekly:
		year, week := t.ISOWeek()
		return fmt.Sprintf("%04d-W%02d", year, week)
	case RuleMonthly:
		return t.Format("2006-01")
	default:
		return t.Format("2006")
	}
}

// whole keeps every Snapshot of a restore point of which one stays.
func whole(verdicts []Verdict) {
	kept := map[string]*Verdict{}
	for i := range verdicts {
		v := &verdicts[i]
		if v.Point == "" || v.Goes() {
			continue
		}
		// Of several the one that stays longest speaks for the point.
		if other := kept[v.Point]; other == nil || !other.Until.IsZero() && (v.Until.IsZero() || v.Until.After(other.Until)) {
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
			v.Kept = []Keep{{KeepPoint, because.Name}}
		}
		v.Until = because.Until
	}
}

// because says why a Snapshot goes.
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
