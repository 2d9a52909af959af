package trigger

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
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

// A person retries the failed target of an old run. The other target has had no backup since that run.
func TestARetryOfAnOldRunProtectsNoOtherTarget(t *testing.T) {
	g := NewWithT(t)
	ok, failed := v1alpha1.BackupSessionSucceeded, v1alpha1.BackupSessionFailed
	targets := func(s *v1alpha1.BackupSession, web, db v1alpha1.BackupSessionPhase) *v1alpha1.BackupSession {
		for name, phase := range map[string]v1alpha1.BackupSessionPhase{"web": web, "db": db} {
			if phase != "" {
				s.Status.Targets = append(s.Status.Targets, v1alpha1.BackupTargetStatus{Name: name, Phase: phase})
			}
		}
		return s
	}
	b := hourly(t, "11-20T12:30:00", func(b *sessionFacts) {
		old := targets(runOf(t, "11-19T03:17:00", failed), ok, failed) // web has had its last backup here
		b.runs = append(b.runs, old)
		for _, slot := range []string{"11-20T10:17:00", "11-20T11:17:00", "11-20T12:17:00"} {
			b.runs = append(b.runs, targets(runOf(t, slot, failed), failed, ok))
		}
		retry := targets(runOf(t, "11-20T12:20:00", ok), "", ok)
		retry.Spec.RetryOf = old.Name
		retry.Status.Resolved = &v1alpha1.ResolvedBackup{
			RestorePoint: old.Name, RestorePointTime: old.Spec.ScheduledTime,
		}
		b.runs = append(b.runs, retry)
	})
	for _, runs := range []string{"all runs are there", "the history has let the retry go"} {
		j := judge(b)
		g.Expect(j.status.LastSuccessTime.Time).To(Equal(at(t, "11-19T03:17:00")), runs)
		c := &v1alpha1.BackupConfiguration{}
		protected(c, []*protection{j.protection})
		g.Expect(conditions.IsFalse(c, v1alpha1.ConditionProtected)).To(BeTrue(),
			"%s: web has no backup for 33 hours", runs)
		b.previous, b.runs = j.status, b.runs[:len(b.runs)-1]
	}
}
