package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

const (
	noRoom = "jobs.batch is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1"
	noCall = `failed calling webhook "rules.example.com": no answer`
)

// A run uses up a quota itself, and gives it back as it goes on. It does not keep waiting for a webhook.
func TestForHowLongARefusedTargetIsTried(t *testing.T) {
	t.Parallel()
	const waits, fails = v1alpha1.BackupSessionRunning, v1alpha1.BackupSessionFailed
	for name, tt := range map[string]struct {
		message string
		ended   time.Duration // when the other target ends, since the first refusal; 0 for one that is refused, too
		at      time.Duration
		want    v1alpha1.BackupSessionPhase
		again   time.Duration
	}{
		"a quota, nothing goes on":            {message: noRoom, at: 5 * time.Minute, want: fails},
		"a quota, another target works":       {noRoom, time.Hour, 40 * time.Minute, waits, time.Minute},
		"a quota, a target ends":              {noRoom, 20 * time.Minute, 20 * time.Minute, waits, 5 * time.Second},
		"a quota, a target ended a while ago": {noRoom, 20 * time.Minute, 21 * time.Minute, waits, 30 * time.Second},
		"a quota, a target ended long ago":    {noRoom, 20 * time.Minute, 25 * time.Minute, fails, 0},
		"a webhook, another target works":     {noCall, time.Hour, 5 * time.Minute, fails, 0},
		"a webhook, a target ended":           {noCall, 4 * time.Minute, 5 * time.Minute, fails, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "one"), runtest.Target("b", "two"))
			f.session.Status.BackupDeadline = nil
			refusal := &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: tt.message}
			f.refused["snap-b"] = refusal
			job := runtest.Job("a", "one", 1)
			if tt.ended == 0 {
				f.refused["snap-a"] = refusal
			} else {
				f.jobs[job] = runtest.Running()
			}
			f.step()
			f.step()
			began := f.at
			if tt.ended > 0 && tt.ended <= tt.at {
				f.at, f.jobs[job] = began.Add(tt.ended), runtest.Succeeded("one")
				g.Expect(f.step().Status.Targets[1].Phase).To(Equal(waits), "the other one has just ended")
			}
			f.at = began.Add(tt.at)
			d := f.step()
			g.Expect(d.Status.Targets[1].Phase).To(Equal(tt.want))
			g.Expect(d.Again).To(Equal(tt.again))
		})
	}
	g := NewWithT(t)
	refusal := func(message string) *v1alpha1.ResolvedError {
		return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: message}
	}
	g.Expect(run.NoRoomForJobs(refusal(noRoom))).To(BeTrue())
	g.Expect(run.NoRoomForJobs(refusal("exceeded quota: all, requested: secrets=1"))).To(BeFalse())
}
