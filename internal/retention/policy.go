package retention

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// Policy is a parsed RetentionPolicy. Read returns one.
type Policy struct {
	// MaxAge is the age at which a Snapshot goes. 0 means never.
	MaxAge time.Duration
	// Rules keep successful Snapshots. Without rules all stay.
	Rules []Rule
	// Failed is how many of the newest failed Snapshots stay.
	Failed int
	// Zone is the time zone in which days begin.
	Zone *time.Location
}

// Rule keeps the newest Snapshot of each of the last Count periods that have one.
type Rule struct {
	// Name is the name of the field in the spec: last, hourly, daily, weekly, monthly or yearly.
	Name string
	// Count is the number of periods. For last, it is the number of Snapshots.
	Count int
}

// Names of rules, in the order of the spec.
const (
	ruleLast    = "last"
	ruleHourly  = "hourly"
	ruleDaily   = "daily"
	ruleWeekly  = "weekly"
	ruleMonthly = "monthly"
	ruleYearly  = "yearly"
)

// defaultFailed is how many failed Snapshots stay if the spec does not say it.
const defaultFailed = 1

// Read parses a spec. The error names the field and says what to do.
func Read(spec *v1alpha1.RetentionPolicySpec) (Policy, error) {
	p := Policy{Failed: defaultFailed, Zone: time.UTC}
	if spec.MaxRetentionPeriod != "" {
		age, err := parsePeriod(spec.MaxRetentionPeriod)
		if err != nil {
			return Policy{}, fmt.Errorf("spec.maxRetentionPeriod: %w", err)
		}
		p.MaxAge = age
	}
	if spec.TimeZone != nil && *spec.TimeZone != "" {
		zone, err := schedule.Zone(*spec.TimeZone)
		if err != nil {
			return Policy{}, fmt.Errorf("spec.timeZone: %w", err)
		}
		p.Zone = zone
	}
	if k := spec.SuccessfulSnapshots; k != nil {
		for _, r := range []struct {
			name  string
			count *int32
		}{
			{ruleLast, k.Last},
			{ruleHourly, k.Hourly},
			{ruleDaily, k.Daily},
			{ruleWeekly, k.Weekly},
			{ruleMonthly, k.Monthly},
			{ruleYearly, k.Yearly},
		} {
			if r.count != nil && *r.count > 0 {
				p.Rules = append(p.Rules, Rule{r.name, int(*r.count)})
			}
		}
	}
	if p.MaxAge == 0 && len(p.Rules) == 0 {
		return Policy{},
			fmt.Errorf("spec: nothing says how long Snapshots stay: set maxRetentionPeriod, or a number of " +
				"successfulSnapshots above zero")
	}
	if f := spec.FailedSnapshots; f != nil && f.Last != nil {
		p.Failed = max(0, int(*f.Last))
	}
	return p, nil
}

// units are the units of a period. "mo" comes before "m", which is its prefix.
var units = []struct {
	name string
	is   time.Duration
}{
	{"mo", 30 * 24 * time.Hour},
	{"y", 365 * 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
}

// maxPeriod is the longest time.Duration, in whole years.
const maxPeriod = 290 * 365 * 24 * time.Hour

// parsePeriod parses numbers with the units y (365 days), mo (30 days), w, d, h and m (minutes), each at most once.
func parsePeriod(text string) (time.Duration, error) {
	var total time.Duration
	seen := map[string]bool{}
	for rest := text; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0,
				fmt.Errorf("%q is not a period: write numbers with the units y, mo, w, d, h and m, for example 1y6mo",
					text)
		}
		rest = rest[digits:]
		unit, after := unitOf(rest)
		switch {
		case unit == "":
			return 0, fmt.Errorf("%q is not a period: %d has no unit; write y, mo, w, d, h or m", text, n)
		case seen[unit]:
			return 0, fmt.Errorf("%q is not a period: the unit %s occurs twice", text, unit)
		}
		seen[unit], rest = true, rest[len(unit):]
		if n > int64((maxPeriod-total)/after) {
			return 0,
				fmt.Errorf("the period %q is longer than 290 years: leave it out to keep Snapshots for ever", text)
		}
		total += time.Duration(n) * after
	}
	if total == 0 {
		return 0, fmt.Errorf("the period %q must be longer than zero", text)
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
