package retention

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	_ "time/tzdata" // A container may have none.

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Policy is a RetentionPolicy that was read. Read makes one.
type Policy struct {
	// MaxAge is the age at which a Snapshot goes; 0 is never.
	MaxAge time.Duration
	// Rules keep Snapshots that succeeded. Without any all stay.
	Rules []Rule
	// Failed is how many of the newest failed Snapshots stay.
	Failed int
	// Zone in which days begin.
	Zone *time.Location
}

// Rule keeps the newest Snapshot of each of the last Count periods that have one.
type Rule struct {
	// Name as it stands in the spec: last, hourly, daily, weekly, monthly or yearly.
	Name string
	// Count of periods; for last, of Snapshots.
	Count int
}

// The names of rules, in the order of the spec.
const (
	RuleLast    = "last"
	RuleHourly  = "hourly"
	RuleDaily   = "daily"
	RuleWeekly  = "weekly"
	RuleMonthly = "monthly"
	RuleYearly  = "yearly"
)

// defaultFailed is how many failed Snapshots stay where the spec does not say.
const defaultFailed = 1

// Read reads a spec. The error names the field and says what to do.
func Read(spec *v1alpha1.RetentionPolicySpec) (Policy, error) {
	p := Policy{Failed: defaultFailed, Zone: time.UTC}
	if spec.MaxRetentionPeriod != "" {
		age, err := ParsePeriod(spec.MaxRetentionPeriod)
		if err != nil {
			return Policy{}, fmt.Errorf("spec.maxRetentionPeriod: %w", err)
		}
		p.MaxAge = age
	}
	if spec.TimeZone != nil && *spec.TimeZone != "" {
		zone, err := time.LoadLocation(*spec.TimeZone)
		if err != nil || *spec.TimeZone == "Local" {
			return Policy{}, fmt.Errorf("spec.timeZone: there is no time zone %q: write one as Europe/Berlin, or leave it out for UTC", *spec.TimeZone)
		}
		p.Zone = zone
	}
	if k := spec.SuccessfulSnapshots; k != nil {
		for _, r := range []struct {
			name  string
			count *int32
		}{
			{RuleLast, k.Last}, {RuleHourly, k.Hourly}, {RuleDaily, k.Daily},
			{RuleWeekly, k.Weekly}, {RuleMonthly, k.Monthly}, {RuleYearly, k.Yearly},
		} {
			if r.count != nil && *r.count > 0 {
				p.Rules = append(p.Rules, Rule{r.name, int(*r.count)})
			}
		}
	}
	if p.MaxAge == 0 && len(p.Rules) == 0 {
		return Policy{}, fmt.Errorf("spec: nothing says how long Snapshots stay: set maxRetentionPeriod, or a number of successfulSnapshots above zero")
	}
	if f := spec.FailedSnapshots; f != nil && f.Last != nil {
		p.Failed = max(0, int(*f.Last))
	}
	return p, nil
}

// units of a period, the longest name first.
var units = []struct {
	name string
	is   time.Duration
}{
	{"mo", 30 * 24 * time.Hour}, {"y", 365 * 24 * time.Hour}, {"w", 7 * 24 * time.Hour},
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute},
}

// maxPeriod is what a time.Duration can hold, in whole years.
const maxPeriod = 290 * 365 * 24 * time.Hour

// ParsePeriod reads numbers with the units y (365 days), mo (30 days), w, d, h and m (minutes), each at most once.
func ParsePeriod(text string) (time.Duration, error) {
	var total time.Duration
	seen := map[string]bool{}
	for rest := text; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a period: write numbers with the units y, mo, w, d, h and m, for example 1y6mo", text)
		}
		rest = rest[digits:]
		unit, after := unitOf(rest)
		switch {
		case unit == "":
			return 0, fmt.Errorf("%q is not a period: %d has no unit, which is one of y, mo, w, d, h and m", text, n)
		case seen[unit]:
			return 0, fmt.Errorf("%q is not a period: the unit %s is there twice", text, unit)
		}
		seen[unit], rest = true, rest[len(unit):]
		if n > int64((maxPeriod-total)/after) {
			return 0, fmt.Errorf("the period %q is longer than 290 years: leave it out to keep for ever", text)
		}
		total += time.Duration(n) * after
	}
	if total == 0 {
		return 0, fmt.Errorf("the period %q is not longer than zero", text)
	}
	return total, nil
}

func unitOf(s string) (string, time.Duration) {
	for _, u := range units {
		if strings.HasPrefix(s, u.name) {
			return u.name, u.is
		}
	}
	return "", 0
}
