package retention

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	good    = v1alpha1.SnapshotSucceeded
	bad     = v1alpha1.SnapshotFailed
	running = v1alpha1.SnapshotRunning
)

func at(t testing.TB, text, zone string) time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	out, err := time.ParseInLocation("2006-01-02 15:04", text, location)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// series returns successful Snapshots of these times, which are also their names.
func series(t testing.TB, zone string, times ...string) []Snapshot {
	t.Helper()
	out := make([]Snapshot, len(times))
	for i, text := range times {
		out[i] = Snapshot{Name: text, Repository: "r", Time: at(t, text, zone), Phase: good}
	}
	return out
}

// kept returns the names of the Snapshots that stay, newest first, each with its reasons.
func kept(verdicts []Verdict) []string {
	var out []string
	for _, v := range verdicts {
		if v.Goes() {
			continue
		}
		line := v.Name + ":"
		for _, k := range v.Kept {
			line += " " + k.String()
		}
		out = append(out, line)
	}
	return out
}

// The periods were worked out by hand, from a printed calendar.
func TestTheCalendar(t *testing.T) {
	for name, c := range map[string]struct {
		zone  string
		rules []Rule
		times []string
		now   string
		want  []string
	}{
		"last counts Snapshots": {
			rules: []Rule{{ruleLast, 2}}, now: "2026-11-20 12:00",
			times: []string{"2026-11-20 01:00", "2026-11-20 02:00", "2026-11-20 03:00"},
			want:  []string{"2026-11-20 03:00: newest success last", "2026-11-20 02:00: last"},
		},
		"the newest of each day, and only days that have one count": {
			rules: []Rule{{ruleDaily, 2}}, now: "2026-11-20 12:00",
			times: []string{
				"2026-11-20 01:00", "2026-11-20 02:00", "2026-11-10 23:59", "2026-11-10 00:00", "2026-11-09 23:59",
			},
			want: []string{
				"2026-11-20 02:00: newest success daily (2026-11-20)", "2026-11-10 23:59: daily (2026-11-10)",
			},
		},
		"hours": {
			rules: []Rule{{ruleHourly, 2}}, now: "2026-11-20 12:00",
			times: []string{"2026-11-20 11:59", "2026-11-20 11:00", "2026-11-20 10:59", "2026-11-20 09:59"},
			want: []string{
				"2026-11-20 11:59: newest success hourly (2026-11-20T11Z)",
				"2026-11-20 10:59: hourly (2026-11-20T10Z)",
			},
		},
		// 2026-01-01 is a Thursday: its ISO week 2026-W01 began on Monday, 2025-12-29. 2025-12-28 is the Sunday of
		// 2025-W52.
		"ISO weeks at the end of a year": {
			rules: []Rule{{ruleWeekly, 2}}, now: "2026-01-05 12:00",
			times: []string{
				"2026-01-04 23:00", "2026-01-01 12:00", "2025-12-29 00:00", "2025-12-28 23:59", "2025-12-22 00:00",
				"2025-12-21 12:00",
			},
			want: []string{"2026-01-04 23:00: newest success weekly (2026-W01)", "2025-12-28 23:59: weekly (2025-W52)"},
		},
		// 2020 has 53 weeks: 2021-01-03 is the Sunday of 2020-W53, 2021-01-04 the Monday of 2021-W01.
		"a year of 53 weeks": {
			rules: []Rule{{ruleWeekly, 2}}, now: "2021-01-05 12:00",
			times: []string{"2021-01-04 00:00", "2021-01-03 23:59", "2020-12-28 00:00", "2020-12-27 12:00"},
			want: []string{
				"2021-01-04 00:00: newest success weekly (2021-W01)", "2021-01-03 23:59: weekly (2020-W53)",
			},
		},
		"a leap day": {
			rules: []Rule{{ruleDaily, 3}, {ruleMonthly, 2}}, now: "2028-03-01 12:00",
			times: []string{"2028-03-01 01:00", "2028-02-29 23:59", "2028-02-28 23:59", "2028-01-31 23:59"},
			want: []string{
				"2028-03-01 01:00: newest success daily (2028-03-01) monthly (2028-03)",
				"2028-02-29 23:59: daily (2028-02-29) monthly (2028-02)", "2028-02-28 23:59: daily (2028-02-28)",
			},
		},
		"the end of a year": {
			rules: []Rule{{ruleYearly, 2}, {ruleMonthly, 1}}, now: "2027-01-01 00:30",
			times: []string{"2027-01-01 00:00", "2026-12-31 23:59", "2026-12-30 12:00", "2025-06-01 12:00"},
			want: []string{
				"2027-01-01 00:00: newest success yearly (2027) monthly (2027-01)",
				"2026-12-31 23:59: yearly (2026)",
			},
		},
		// New Year comes to Auckland 13 hours before it comes to UTC.
		"the year ends in the policy's time zone": {
			zone: "Pacific/Auckland", rules: []Rule{{ruleYearly, 2}}, now: "2027-01-01 05:00",
			times: []string{"2027-01-01 00:30", "2026-12-31 23:30", "2026-01-01 00:00", "2025-12-31 23:00"},
			want:  []string{"2027-01-01 00:30: newest success yearly (2027)", "2026-12-31 23:30: yearly (2026)"},
		},
		// On 2026-03-29 clocks in Berlin go from 02:00 to 03:00: the day has 23 hours.
		"the day clocks are set forward": {
			zone: "Europe/Berlin", rules: []Rule{{ruleHourly, 3}, {ruleDaily, 2}}, now: "2026-03-29 12:00",
			times: []string{
				"2026-03-29 04:10", "2026-03-29 03:10", "2026-03-29 01:50", "2026-03-29 00:10", "2026-03-28 23:50",
			},
			want: []string{
				"2026-03-29 04:10: newest success hourly (2026-03-29T04+02:00) daily (2026-03-29)",
				"2026-03-29 03:10: hourly (2026-03-29T03+02:00)", "2026-03-29 01:50: hourly (2026-03-29T01+01:00)",
				"2026-03-28 23:50: daily (2026-03-28)",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.zone == "" {
				c.zone = "UTC"
			}
			now := at(t, c.now, c.zone)
			p := Policy{Rules: c.rules, Zone: now.Location()}
			NewWithT(t).Expect(kept(p.Decide(series(t, c.zone, c.times...), now))).To(Equal(c.want))
		})
	}
}

// On 2026-10-25 clocks in Berlin go from 03:00 back to 02:00: the hour from two comes twice, and they are two hours.
func TestTheHourThatComesTwice(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	first, second := time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC), time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC)
	g.Expect(first.In(berlin).Hour()).To(Equal(second.In(berlin).Hour()))
	p := Policy{Rules: []Rule{{ruleHourly, 2}}, Zone: berlin}
	g.Expect(kept(p.Decide([]Snapshot{
		{Name: "first", Time: first, Phase: good},
		{Name: "second", Time: second, Phase: good},
		{Name: "before", Time: first.Add(-time.Hour), Phase: good},
	}, second))).To(Equal([]string{
		"second: newest success hourly (2026-10-25T02+01:00)", "first: hourly (2026-10-25T02+02:00)",
	}))
}

func TestWhatStaysWhateverThePolicySays(t *testing.T) {
	now := at(t, "2026-11-20 12:00", "UTC")
	old := now.Add(-100 * 24 * time.Hour)
	p := Policy{MaxAge: 24 * time.Hour, Rules: []Rule{{ruleLast, 1}}, Failed: 0, Zone: time.UTC}
	g := NewWithT(t)
	verdicts := p.Decide([]Snapshot{
		{Name: "older", Repository: "r", Time: old.Add(-time.Hour), Phase: good},
		{Name: "only good one", Repository: "r", Time: old, Phase: good},
		{Name: "failed", Repository: "r", Time: now, Phase: bad},
		{Name: "running", Repository: "r", Time: old.Add(-2 * time.Hour), Phase: running},
		{Name: "no phase", Repository: "r", Time: old.Add(-3 * time.Hour)},
		{Name: "restored", Repository: "r", Time: old.Add(-4 * time.Hour), Phase: good, Held: "RestoreSession x"},
		{Name: "elsewhere", Repository: "s", Time: old.Add(-5 * time.Hour), Phase: good},
	}, now)
	g.Expect(kept(verdicts)).To(Equal([]string{
		"only good one: newest success", "running: unfinished", "no phase: unfinished",
		"restored: in use (RestoreSession x)", "elsewhere: newest success",
	}))
	g.Expect(Next(verdicts)).To(BeZero(), "time alone lets none of them go")
	for _, v := range verdicts {
		if v.Name == "older" {
			g.Expect(v.Reason).To(Equal(v1alpha1.ReasonTooOld))
		}
		if v.Name == "failed" {
			g.Expect(v.Message).To(Equal("it failed, and failedSnapshots.last keeps 0"))
		}
	}
}

// A Snapshot with missing data takes no place of one that can be restored.
func TestDamagedOnesTakeNobodysPlace(t *testing.T) {
	g := NewWithT(t)
	all := series(t, "UTC", "2026-07-01 02:00", "2026-07-02 02:00", "2026-07-03 02:00", "2026-07-04 02:00",
		"2026-07-05 02:00")
	all[3].Damaged, all[4].Damaged = true, true
	p := Policy{Rules: []Rule{{ruleLast, 2}}, Zone: time.UTC}
	g.Expect(kept(p.Decide(all, at(t, "2026-07-05 03:00", "UTC")))).To(Equal([]string{
		"2026-07-05 02:00: newest success " + ruleLast, "2026-07-04 02:00: " + ruleLast,
		"2026-07-03 02:00: newest success (of those that are not damaged) " + ruleLast +
			" (of those that are not damaged)",
		"2026-07-02 02:00: " + ruleLast + " (of those that are not damaged)",
	}))
	p = Policy{MaxAge: time.Hour, Zone: time.UTC}
	g.Expect(kept(p.Decide(all, at(t, "2026-07-09 03:00", "UTC")))).To(Equal([]string{
		"2026-07-05 02:00: newest success", "2026-07-03 02:00: newest success (of those that are not damaged)",
	}))
}

func TestWhenTheNextOneGoes(t *testing.T) {
	now := at(t, "2026-11-20 12:00", "UTC")
	p := Policy{MaxAge: 48 * time.Hour, Zone: time.UTC}
	snapshots := []Snapshot{
		{Name: "new", Time: now.Add(-time.Hour), Phase: good},
		{Name: "mid", Time: now.Add(-10 * time.Hour), Phase: good},
		{Name: "old", Time: now.Add(-47 * time.Hour), Phase: good},
	}
	g := NewWithT(t)
	due := Next(p.Decide(snapshots, now))
	g.Expect(due).To(Equal(now.Add(time.Hour)))
	g.Expect(kept(p.Decide(snapshots, due.Add(-time.Nanosecond)))).To(HaveLen(3))
	g.Expect(kept(p.Decide(snapshots, due))).To(HaveLen(2), "it goes at the announced instant")
}

func BenchmarkDecide(b *testing.B) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	snapshots := make([]Snapshot, 10_000)
	for i := range snapshots {
		snapshots[i] = Snapshot{
			Name: fmt.Sprintf("shop-db-hourly-%06d", i), Repository: "shop-db",
			Time: now.Add(-time.Duration(i) * time.Hour), Phase: good,
		}
		if i%97 == 3 {
			snapshots[i].Phase = bad
		}
	}
	p := Policy{
		MaxAge: 700 * 24 * time.Hour, Failed: 1, Zone: time.UTC,
		Rules: []Rule{
			{ruleLast, 24}, {ruleHourly, 48}, {ruleDaily, 30}, {ruleWeekly, 8}, {ruleMonthly, 12}, {ruleYearly, 3},
		},
	}
	for b.Loop() {
		if len(p.Decide(snapshots, now)) != len(snapshots) {
			b.Fatal("not decided")
		}
	}
}

// An hourly backup of one directory and a nightly one of all share a Repository. The hourly one is the newest of each
// day.
func TestASessionPushesOutNoOtherOne(t *testing.T) {
	g := NewWithT(t)
	p := Policy{MaxAge: 30 * 24 * time.Hour, Rules: []Rule{{ruleHourly, 3}, {ruleDaily, 2}}, Zone: time.UTC}
	made := func(session, when string) Snapshot {
		return Snapshot{
			Name: session + " " + when, Repository: "r", Session: session, Phase: good,
			Time: at(t, "2026-11-"+when, "UTC"),
		}
	}
	all := []Snapshot{
		made("nightly", "18 02:05"), made("nightly", "19 02:05"), made("nightly", "20 02:05"),
		made("hourly", "19 23:15"), made("hourly", "20 08:15"), made("hourly", "20 09:15"), made("hourly", "20 10:15"),
	}
	g.Expect(kept(p.Decide(all, at(t, "2026-11-20 12:00", "UTC")))).To(Equal([]string{
		"hourly 20 10:15: newest success (of session hourly) hourly (2026-11-20T10Z) daily (2026-11-20)",
		"hourly 20 09:15: hourly (2026-11-20T09Z)",
		"hourly 20 08:15: hourly (2026-11-20T08Z)",
		"nightly 20 02:05: newest success (of session nightly) hourly (2026-11-20T02Z) daily (2026-11-20)",
		"hourly 19 23:15: daily (2026-11-19)",
		"nightly 19 02:05: hourly (2026-11-19T02Z) daily (2026-11-19)",
		"nightly 18 02:05: hourly (2026-11-18T02Z)",
	}))
	g.Expect(kept(p.Decide(all, at(t, "2028-11-20 12:00", "UTC")))).To(Equal([]string{
		"hourly 20 10:15: newest success (of session hourly)", "nightly 20 02:05: newest success (of session nightly)",
	}), "neither is the other's last backup")
}
