package retention_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/retention"
)

func TestAClockInDoubtDecidesNothing(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	const year = 365 * 24 * time.Hour
	for name, tt := range map[string]struct {
		clocks retention.Clocks
		want   string
	}{
		"all agree":      {retention.Clocks{Now: now, Server: now, Newest: now, Steady: time.Minute}, ""},
		"a little apart": {retention.Clocks{Now: now, Server: now.Add(4 * time.Minute), Newest: now}, ""},
		"the manager ahead": {
			retention.Clocks{Now: now.Add(year), Server: now, Newest: now}, "clocks of the manager and",
		},
		"the manager behind": {
			retention.Clocks{Now: now.Add(-year), Server: now, Newest: now}, "clocks of the manager and",
		},
		"both ahead, seen": {
			retention.Clocks{Now: now.Add(year), Server: now.Add(year), Newest: now, Steady: time.Minute, Jumped: true},
			"has jumped",
		},
		"both ahead, after a restart": {
			retention.Clocks{Now: now.Add(year), Server: now.Add(year), Newest: now, Steady: time.Minute},
			"has just started",
		},
		"objects of the future, after a start": {
			retention.Clocks{Now: now, Server: now, Ahead: true, Steady: time.Minute}, "its clock is behind",
		},
		"objects of the future, and the clock steady": {
			retention.Clocks{Now: now, Server: now, Ahead: true, Steady: 2 * time.Hour}, "",
		},
		"the newest is old, and the clock steady": {
			retention.Clocks{Now: now.Add(year), Server: now.Add(year), Newest: now, Steady: 2 * time.Hour}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			doubt := tt.clocks.Doubt()
			if tt.want == "" {
				NewWithT(t).Expect(doubt).To(BeEmpty())
				return
			}
			NewWithT(t).Expect(doubt).To(ContainSubstring(tt.want))
		})
	}
}

func TestAJumpOfTheClockIsSeen(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var s retention.Steadiness
	now, at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), 10*time.Minute
	look := func(wall, stopwatch time.Duration) (time.Duration, bool) {
		now, at = now.Add(wall), at+stopwatch
		return s.Look(now, at)
	}
	expect := func(steady time.Duration, jumped bool) func(time.Duration, bool) {
		return func(is time.Duration, did bool) {
			t.Helper()
			g.Expect(is).To(Equal(steady))
			g.Expect(did).To(Equal(jumped))
		}
	}
	expect(10*time.Minute, false)(look(0, 0))
	expect(20*time.Minute, false)(look(10*time.Minute+time.Second, 10*time.Minute))
	expect(0, true)(look(365*24*time.Hour, time.Minute))
	expect(2*time.Minute, true)(look(2*time.Minute, 2*time.Minute))
	expect(0, true)(look(-365*24*time.Hour, time.Minute))
}

// A cluster whose Snapshots are all new has not stood still.
func TestOnlySnapshotsFromBeforeTellThatAClusterStoodStill(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		ages  []time.Duration
		made  time.Duration // of all, before that
		doubt bool
	}{
		"all are new":                  {[]time.Duration{time.Minute, 30 * time.Minute}, 0, false},
		"a scan has just made all":     {[]time.Duration{time.Minute, 30 * time.Minute}, 900 * time.Hour, true},
		"a scan made them yesterday":   {[]time.Duration{25 * time.Hour}, 900 * time.Hour, false},
		"one is of this week":          {[]time.Duration{time.Minute, 50 * time.Hour, 900 * time.Hour}, 0, false},
		"all but new ones are too old": {[]time.Duration{time.Minute, 900 * time.Hour}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := retention.Clocks{Now: now, Server: now, Steady: time.Minute}
			for _, age := range tt.ages {
				c.See(now.Add(-age), now.Add(-age-tt.made))
			}
			NewWithT(t).Expect(c.Doubt() != "").To(Equal(tt.doubt))
		})
	}
}
