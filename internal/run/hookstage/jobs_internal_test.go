package hookstage

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// A hook has its timeout and no more, whatever clock has dated its Job.
func TestAHookEndsAlthoughAClockWasAhead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	const year = 365 * 24 * time.Hour
	for name, tt := range map[string]struct {
		job, began time.Duration
		late       bool
	}{
		"in time":                        {job: -time.Minute, began: -time.Minute},
		"too late":                       {job: -time.Hour, began: -time.Hour, late: true},
		"in time, the Job dated ahead":   {job: year, began: -time.Minute},
		"too late, the Job dated ahead":  {job: year, began: -time.Hour, late: true},
		"both dated ahead":               {job: year, began: year, late: true},
		"the manager is behind by hours": {job: 2 * time.Hour, began: -time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			st := &v1alpha1.HookStatus{Name: "freeze", Attempts: 1, StartTime: &metav1.Time{Time: now.Add(tt.began)}}
			j := &Jobs{Kind: v1alpha1.BackupSessionKind, Owner: "run"}
			id, _, _ := j.of(Pre, st)
			j.Jobs = map[string]run.Job{id: {
				Created: now.Add(tt.job), Observation: observe.Observation{State: observe.StateRunning},
			}}
			h := &v1alpha1.ResolvedHook{Name: "freeze", Timeout: &metav1.Duration{Duration: 10 * time.Minute}}
			out, after := j.outcome(h, Pre, st, nil, now)
			if tt.late {
				g.Expect(out).To(HaveValue(HaveField("Reason", v1alpha1.ReasonHookTimeout)))
				return
			}
			g.Expect(out).To(BeNil())
			g.Expect(after).To(BeNumerically("~", 9*time.Minute, time.Minute))
		})
	}
}

// The message can end with a command, so the Job stands before it.
func TestAFailedHookNamesItsJob(t *testing.T) {
	t.Parallel()
	g, now := NewWithT(t), time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	st := &v1alpha1.HookStatus{Name: "freeze", Attempts: 1, StartTime: &metav1.Time{Time: now}}
	j := &Jobs{Kind: v1alpha1.BackupSessionKind, Owner: "run"}
	id, _, _ := j.of(Pre, st)
	g.Expect(id).To(HavePrefix("hook-freeze-backupsession-run-pre-"))
	j.Jobs = map[string]run.Job{id: {Created: now, Observation: observe.Observation{
		State: observe.StateFailed, Message: "the Function's container ended with exit code 3", Output: "no space",
	}}}
	h := &v1alpha1.ResolvedHook{Name: "freeze", Timeout: &metav1.Duration{Duration: 10 * time.Minute}}
	out, _ := j.outcome(h, Pre, st, nil, now)
	g.Expect(out).To(HaveValue(Equal(Outcome{
		Reason: v1alpha1.ReasonJobFailed, Stderr: "no space",
		Message: "in the Job " + id + ": the Function's container ended with exit code 3",
	})))
}
