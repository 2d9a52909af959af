package retention

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestParsePeriod(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"1y": 365 * day, "6mo": 180 * day, "2w": 14 * day, "3d": 3 * day, "4h": 4 * time.Hour, "5m": 5 * time.Minute,
		"1y6mo2w3d4h5m": 365*day + 180*day + 14*day + 3*day + 4*time.Hour + 5*time.Minute,
		"5m1mo":         30*day + 5*time.Minute,
	} {
		got, err := parsePeriod(text)
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred(), text)
		g.Expect(got).To(Equal(want), text)
	}
	for text, want := range map[string]string{
		"30":             `30 has no unit`,
		"":               "must be longer than zero",
		"0d":             "must be longer than zero",
		"-1d":            "is not a period: write numbers with the units",
		"1d2d":           "the unit d occurs twice",
		"1x":             "1 has no unit",
		"d":              "write numbers with the units",
		"300y":           "longer than 290 years",
		"9999999999999y": "longer than 290 years",
	} {
		_, err := parsePeriod(text)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)), text)
	}
}

func TestRead(t *testing.T) {
	g := NewWithT(t)
	p, err := Read(&v1alpha1.RetentionPolicySpec{
		MaxRetentionPeriod: "30d", TimeZone: new("Europe/Berlin"),
		SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{
			Last: new(int32(3)), Daily: new(int32(0)),
			Yearly: new(int32(2)),
		},
		FailedSnapshots: &v1alpha1.FailedSnapshotsKeepPolicy{Last: new(int32(0))},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.Zone.String()).To(Equal("Europe/Berlin"))
	p.Zone = nil
	g.Expect(p).To(Equal(Policy{MaxAge: 30 * 24 * time.Hour, Rules: []Rule{{ruleLast, 3}, {ruleYearly, 2}}}))

	p, err = Read(&v1alpha1.RetentionPolicySpec{MaxRetentionPeriod: "1h"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.Failed).To(Equal(1))

	for want, spec := range map[string]v1alpha1.RetentionPolicySpec{
		`spec.timeZone: unknown time zone "Mars/Olympus"`: {MaxRetentionPeriod: "1h", TimeZone: new("Mars/Olympus")},
		`spec.maxRetentionPeriod: "1"`:                    {MaxRetentionPeriod: "1"},
		"nothing says how long Snapshots stay": {
			SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{Last: new(int32(0))},
		},
	} {
		_, err := Read(&spec)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
}
