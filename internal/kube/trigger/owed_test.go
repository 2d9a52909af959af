package trigger

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// changing is a session whose last success ran from last to ended, as its schedule changes.
func changing(t *testing.T, was, last, ended, edit string) sessionFacts {
	t.Helper()
	return hourly(t, edit, func(b *sessionFacts) {
		ok := runOf(t, last, v1alpha1.BackupSessionSucceeded)
		ok.Status.CompletionTime = new(metav1.NewTime(at(t, ended)))
		b.runs = append(b.runs, ok)
		b.previous.Schedule = was
		b.previous.ScheduledSince = new(metav1.NewTime(at(t, "10-18T10:00:00")))
		b.previous.LastScheduleTime = new(metav1.NewTime(at(t, last)))
	})
}

// isProtected judges a session at a time and keeps its status. It reports whether Protected is True.
func isProtected(t *testing.T, b *sessionFacts, now string) bool {
	t.Helper()
	b.now = at(t, now)
	j := judge(*b)
	b.previous = j.status
	c := &v1alpha1.BackupConfiguration{}
	protected(c, []*protection{j.protection})
	return conditions.IsTrue(c, v1alpha1.ConditionProtected)
}

// The last success is recent enough for the new schedule, although a slot of the earlier one passed without.
func TestAScheduleThatBecomesLessFrequentMakesNothingLate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		was, last, ended, edit, line string
		good                         []string // no run is due yet
		late                         string   // a run of the new schedule has not succeeded within its time
	}{
		// Its runs take two hours: with Forbid, those of the slots in between are skipped.
		"hourly, becomes nightly after a success": {
			was: "17 * * * *", last: "11-18T10:17:00", ended: "11-18T12:25:00", edit: "11-18T12:30:00",
			line: "0 2 * * *", good: []string{"11-18T17:30:00", "11-18T20:00:00", "11-19T07:59:00"},
			late: "11-19T08:01:00",
		},
		"hourly, becomes nightly after a failed run": {
			was: "17 * * * *", last: "11-18T09:17:00", ended: "11-18T09:27:00", edit: "11-18T10:45:00",
			line: "0 2 * * *", good: []string{"11-18T17:30:00", "11-19T07:59:00"}, late: "11-19T08:01:00",
		},
		"nightly, becomes weekly after a suspended night": {
			was: "0 2 * * *", last: "11-17T02:00:00", ended: "11-17T02:10:00", edit: "11-18T09:00:00",
			line: "0 2 * * 0", good: []string{"11-18T09:01:00", "11-20T09:00:00", "11-22T07:59:00"},
			late: "11-22T08:01:00",
		},
		"hourly, comes to working days on a weekend": {
			was: "17 * * * *", last: "11-20T20:17:00", ended: "11-20T20:27:00", edit: "11-21T12:00:00",
			line: "0 2 * * 1-5", good: []string{"11-21T12:01:00", "11-23T07:59:00"}, late: "11-23T08:01:00",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			b := changing(t, tt.was, tt.last, tt.ended, tt.edit)
			b.config.Scheduler.Schedule = tt.line
			for _, now := range append([]string{tt.edit}, tt.good...) {
				g.Expect(isProtected(t, &b, now)).To(BeTrue(), now)
			}
			g.Expect(isProtected(t, &b, tt.late)).To(BeFalse(), tt.late)
		})
	}
}

// A schedule that is late does not end it by changes, whatever its time zone.
func TestAScheduleThatIsLateStaysLateAsItChanges(t *testing.T) {
	t.Parallel()
	for _, zone := range []*string{nil, new("Europe/Berlin")} {
		g := NewWithT(t)
		was := "0 2 * * *"
		if zone != nil {
			was += " " + *zone
		}
		b := changing(t, was, "11-16T02:00:00", "11-16T02:10:00", "11-18T09:00:00")
		b.config.Scheduler.TimeZone = zone
		now := at(t, "11-18T09:00:00")
		for _, line := range []string{"0 3 * * *", "0 4 * * 1-5", "17 * * * *", "30 1 * * *"} {
			b.config.Scheduler.Schedule = line
			for range 2 {
				g.Expect(isProtected(t, &b, now.Format("01-02T15:04:05"))).To(BeFalse(), line)
				now = now.Add(time.Minute)
			}
		}
		// As a weekly one it is recent enough, and that does not make it so as a nightly one.
		b.config.Scheduler.Schedule = "0 2 * * 0"
		g.Expect(isProtected(t, &b, "11-18T09:30:00")).To(BeTrue())
		b.config.Scheduler.Schedule = "0 2 * * *"
		g.Expect(isProtected(t, &b, "11-18T10:00:00")).To(BeFalse())
		b.runs = append(b.runs, runOf(t, "11-18T10:05:00", v1alpha1.BackupSessionSucceeded))
		g.Expect(isProtected(t, &b, "11-18T10:30:00")).To(BeTrue())
		g.Expect(b.previous.OwedSlot).To(BeNil())
	}
}

// Such a policy was written by a manager that knew more time zones, or by hand.
func TestASlotIsOwedWhileNoScheduleCanBeRead(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := hourly(t, "11-20T08:40:00")
	b.config.Scheduler.Schedule, b.previous.Schedule = "no schedule", "0 2 * * * Europe/Nowhere"
	b.previous.OwedSlot = new(metav1.NewTime(at(t, "11-20T02:00:00")))
	b.previous.LastSuccessTime = new(metav1.NewTime(at(t, "11-20T01:10:00")))
	g.Expect(isProtected(t, &b, "11-20T07:09:00")).To(BeTrue())
	g.Expect(isProtected(t, &b, "11-20T07:11:00")).To(BeFalse())
	g.Expect(b.previous.OwedSlot).NotTo(BeNil())
}
