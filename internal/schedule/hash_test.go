package schedule

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The meaning of H must never change between versions: every schedule of every cluster would move. So the numbers are
// written out here.
func TestHIsStable(t *testing.T) {
	tests := map[string]struct{ line, want string }{
		"a minute":            {"H * * * *", "32 * * * *"},
		"every field":         {"H H H H H", "32 10 5 7 1"},
		"a step":              {"H/15 * * * *", "2-59/15 * * * *"},
		"a range":             {"H(0-29) * * * *", "2 * * * *"},
		"a range with a step": {"H(0-29)/10 * * * *", "2-29/10 * * * *"},
		"two ranges":          {"H(0-29),H(30-59) * * * *", "2,32 * * * *"},
		"no H":                {"*/5 1-3 * jan sun", "*/5 1-3 * jan sun"},
		"more white space":    {" 5   2 * *  *", "5 2 * * *"},
		"a name":              {"@daily", "@daily"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(times(t, test.line, "").Line()).To(Equal(test.want))
		})
	}
}

// A thousand sessions with the same line are spread over the hour, and each stays within what its H allows.
func TestHSpreads(t *testing.T) {
	g := NewWithT(t)
	tests := map[string]func(minute int) bool{
		"H * * * *":          func(minute int) bool { return minute >= 0 && minute <= 59 },
		"H(10-19) * * * *":   func(minute int) bool { return minute >= 10 && minute <= 19 },
		"H(0-29)/10 * * * *": func(minute int) bool { return minute >= 0 && minute <= 29 },
	}
	for line, within := range tests {
		count := map[int]int{}
		for i := range 1000 {
			s, err := New(&v1alpha1.SchedulerSpec{Schedule: line},
				Identity("BackupConfiguration", "shop", fmt.Sprintf("c%d", i), "nightly"))
			g.Expect(err).NotTo(HaveOccurred())
			minute := s.Next(time.Date(2026, 11, 20, 8, 59, 0, 0, time.UTC)).Minute()
			g.Expect(within(minute)).To(BeTrue(), "%s: minute %d", line, minute)
			count[minute]++
		}
		g.Expect(len(count)).To(BeNumerically(">=", 10), line)
		for minute, n := range count {
			g.Expect(n).To(BeNumerically("<", 3*1000/len(count)), "%s: minute %d", line, minute)
		}
	}
}
