package trigger

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A schedule that never fires promises a backup that never comes. The policy is from 10 o'clock.
func TestAnImpossibleScheduleProtectsNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		schedule, now string
		late          bool
	}{
		"there is time":             {schedule: "0 0 30 2 *", now: "11-20T15:59:00"},
		"no backup within its time": {schedule: "0 0 30 2 *", now: "11-20T16:01:00", late: true},
		"nobody can read it":        {schedule: "61 * * * *", now: "11-20T16:01:00", late: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := hourly(t, tt.now)
			b.created, b.previous = at(t, "11-20T10:00:00"), v1alpha1.SessionStatus{Name: "hourly"}
			b.config.Scheduler.Schedule = tt.schedule
			for range 2 {
				j := judge(b)
				g.Expect(j.protection).NotTo(BeNil(), "else the condition Protected is absent")
				g.Expect(j.protection.late).To(Equal(tt.late))
				g.Expect(j.protection.none).To(BeTrue())
				g.Expect(j.status.ScheduledSince).To(HaveValue(Equal(metav1.NewTime(b.created))))
				g.Expect(j.look.IsZero()).To(Equal(tt.late))
				b.previous = j.status
			}
			b.config.Scheduler.Schedule = "17 * * * *"
			j := judge(b)
			g.Expect(j.status.Schedule).To(Equal("17 * * * *"))
			g.Expect(j.status.ScheduledSince).To(HaveValue(Equal(metav1.NewTime(b.now).Rfc3339Copy())))
		})
	}
}
