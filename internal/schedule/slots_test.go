package schedule

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, s)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return out
}

func TestNewest(t *testing.T) {
	tests := map[string]struct{ line, zone, after, until, want string }{
		"one slot": {
			"17 * * * *", "", "2026-11-20T08:00:00Z", "2026-11-20T08:30:00Z",
			"2026-11-20T08:17:00Z",
		},
		"none": {"17 * * * *", "", "2026-11-20T08:17:00Z", "2026-11-20T09:16:59Z", ""},
		"one that is now": {
			"17 * * * *", "", "2026-11-20T08:00:00Z", "2026-11-20T08:17:00Z",
			"2026-11-20T08:17:00Z",
		},
		"the last of many": {
			"* * * * *", "", "2020-01-01T00:00:00Z", "2026-11-20T08:17:30Z",
			"2026-11-20T08:17:00Z",
		},
		"the last of a burst": {
			"* * 1 1 *", "", "2020-01-01T00:00:00Z", "2026-11-20T08:17:30Z",
			"2026-01-01T23:59:00Z",
		},
		"years ago": {
			"0 0 29 2 *", "", "2020-01-01T00:00:00Z", "2026-11-20T08:00:00Z",
			"2024-02-29T00:00:00Z",
		},
		"nothing passed": {"* * * * *", "", "2026-11-20T08:00:00Z", "2026-11-20T07:00:00Z", ""},
		"in another zone": {
			"0 2 * * *", "Europe/Berlin", "2026-11-19T00:00:00Z", "2026-11-20T08:00:00Z",
			"2026-11-20T01:00:00Z",
		},
		"an hour that does not exist": {
			"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, ok := times(t, test.line, test.zone).Newest(at(t, test.after), at(t, test.until))
			g.Expect(ok).To(Equal(test.want != ""))
			if ok {
				g.Expect(got.Format(time.RFC3339)).To(Equal(test.want))
			}
		})
	}
}

// The slots around the days on which the clock of a zone changes, according to the calendar: Berlin's clock goes from
// 02:00 to 03:00 on 29 March 2026 at 01:00 UTC, and from 03:00 to 02:00 on 25 October 2026 at 01:00 UTC; New York's
// on 8 March and 1 November.
func TestSlotsWhenTheClockIsPut(t *testing.T) {
	tests := map[string]struct {
		line, zone, from string
		want             []string
	}{
		"forward: a slot in the hour that is left out waits for the next day": {
			"30 2 * * *", "Europe/Berlin",
			"2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"},
		},
		"forward: a slot after it comes an hour earlier": {
			"0 4 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T03:00:00Z", "2026-03-29T02:00:00Z"},
		},
		"forward: every hour": {
			"0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z",
			[]string{"2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"},
		},
		"back: a slot in the hour that comes twice comes twice": {
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"},
		},
		"back: every hour": {
			"0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z",
			[]string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"},
		},
		"back: in New York": {
			"15 1 * * *", "America/New_York", "2026-10-31T12:00:00Z",
			[]string{"2026-11-01T05:15:00Z", "2026-11-01T06:15:00Z", "2026-11-02T06:15:00Z"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := times(t, test.line, test.zone)
			from := at(t, test.from)
			var got []string
			for slot := s.Next(from); len(got) < len(test.want); slot = s.Next(slot) {
				got = append(got, slot.Format(time.RFC3339))
				g.Expect(s.Is(slot)).To(BeTrue())
				newest, ok := s.Newest(from, slot)
				g.Expect(ok).To(BeTrue())
				g.Expect(newest).To(Equal(slot))
				g.Expect(s.Between(from, slot, 10)).To(Equal(len(got) - 1))
			}
			g.Expect(got).To(Equal(test.want))
		})
	}
}

func TestReadGivesWhatStringWrote(t *testing.T) {
	for _, test := range []struct{ line, zone, text string }{
		{"17 2 * * *", "", "17 2 * * *"},
		{"17 2 * * *", "UTC", "17 2 * * *"},
		{"H 2 * * *", "Europe/Berlin", "32 2 * * * Europe/Berlin"},
		{"@daily", "", "@daily"},
		{"@daily", "Asia/Tokyo", "@daily Asia/Tokyo"},
	} {
		g := NewWithT(t)
		s := times(t, test.line, test.zone)
		g.Expect(s.String()).To(Equal(test.text))
		read, err := Read(test.text)
		g.Expect(err).NotTo(HaveOccurred())
		from := at(t, "2026-11-20T08:00:00Z")
		g.Expect(read.Next(from)).To(Equal(s.Next(from)))
		g.Expect(read.String()).To(Equal(test.text))
	}
	_, err := Read("")
	NewWithT(t).Expect(err).To(HaveOccurred())
}
