package run_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

func TestLeft(t *testing.T) {
	t.Parallel()
	now := runtest.Now
	for name, tt := range map[string]struct{ until, want time.Duration }{
		"it is over":                    {-time.Second, 0},
		"a part of it is left":          {time.Minute, time.Minute},
		"clocks differ a little":        {time.Hour + time.Minute, time.Hour + time.Minute},
		"a clock was ahead":             {2 * time.Hour, 0},
		"a clock was ahead by far more": {365 * 24 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(run.Left(now.Add(tt.until), time.Hour, now)).To(Equal(tt.want))
		})
	}
}

// What waits since a time to come would wait until then.
func TestAWaitThatBeganInTheFutureBeginsNow(t *testing.T) {
	t.Parallel()
	g, now := NewWithT(t), runtest.Now
	var cs []metav1.Condition
	run.Progress(&cs, "Waiting", "it waits", 1, now.AddDate(1, 0, 0))
	g.Expect(run.Since(cs, now)).To(Equal(now))
	run.Progress(&cs, "Waiting", "it waits", 1, now)
	g.Expect(run.Since(cs, now.Add(time.Hour))).To(Equal(now), "the wait goes on from there")
	run.Progress(&cs, "Waiting", "it waits", 1, now.Add(time.Minute))
	g.Expect(run.Since(cs, now.Add(time.Hour))).To(Equal(now))
}

// Of what clocks that were ahead have told, the last is the last, but only until something else has happened.
func TestMomentsThatAreStillToComeKeepTheirOrder(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	year := now.AddDate(1, 0, 0)
	first, second := run.MomentOf(year, year, now), run.MomentOf(year.Add(time.Hour), year, now)
	g.Expect(second.Compare(first)).To(Equal(1))
	g.Expect(first.Compare(second)).To(Equal(-1))
	g.Expect(first.Compare(run.Moment{})).To(Equal(1))
	today := run.MomentOf(now, now, now)
	g.Expect(today.Compare(second)).To(Equal(1))
	g.Expect(run.MomentOf(year, now, now).Compare(today)).To(Equal(0), "it was created now")
}

// What a clock that was ahead has dated does not win until then. Whether a clock was ahead, or the manager is behind,
// the API server knows.
func TestWhatIsStillToComeDoesNotWin(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ahead, old := now.AddDate(1, 0, 0), now.AddDate(-1, 0, 0)
	g.Expect(run.CompareTimes(ahead, old, now)).To(Equal(-1))
	g.Expect(run.CompareTimes(old, ahead, now)).To(Equal(1))
	g.Expect(run.CompareTimes(now, old, now)).To(Equal(1))
	g.Expect(run.CompareTimes(ahead, ahead.Add(time.Second), now)).To(Equal(-1), "both")
	g.Expect(run.CompareTimes(ahead, old, run.Latest(now, metav1.NewTime(ahead)))).To(Equal(1), "the manager is behind")
	g.Expect(run.Latest(now, metav1.NewTime(old))).To(Equal(now))
}
