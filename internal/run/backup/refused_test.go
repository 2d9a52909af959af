package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// A run uses up a quota itself, and gives room back when one of its targets ends.
func TestForHowLongARefusedTargetIsTried(t *testing.T) {
	t.Parallel()
	const waits, fails = v1alpha1.BackupSessionRunning, v1alpha1.BackupSessionFailed
	freeze := &v1alpha1.HookStatuses{PreHooks: []v1alpha1.HookStatus{{
		Name: "freeze", Phase: v1alpha1.HookSucceeded, Attempts: 1,
	}}}
	for name, tt := range map[string]struct {
		ended, at     time.Duration // since the first refusal: when the other target ends, and the look
		want          v1alpha1.BackupSessionPhase
		again         time.Duration
		target, whole *v1alpha1.HookStatuses
	}{
		"the other one works": {ended: time.Hour, at: 5 * time.Minute, want: fails},
		"the other one ends": {
			ended: 4 * time.Minute, at: 4 * time.Minute, want: waits, again: 5 * time.Second,
		},
		"it has ended before": {
			ended: 4 * time.Minute, at: 5 * time.Minute, want: waits, again: 30 * time.Second,
		},
		"it has ended long ago": {ended: 4 * time.Minute, at: 9 * time.Minute, want: fails},
		"hooks of the target have run": {
			ended: 4 * time.Minute, at: 5 * time.Minute, want: waits, target: freeze, // for its thaw
		},
		"hooks of the run have run": {ended: 4 * time.Minute, at: 5 * time.Minute, want: fails, whole: freeze},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "one"), runtest.Target("b", "two"))
			f.session.Status.BackupDeadline = nil
			f.refused["snap-b"] = &v1alpha1.ResolvedError{
				Reason: v1alpha1.ReasonCreationRefused, Message: "exceeded quota: jobs",
			}
			job := runtest.Job("a", "one", 1)
			f.jobs[job] = runtest.Running()
			f.step()
			f.step()
			began := f.at
			f.session.Status.Targets[1].Hooks, f.session.Status.Hooks = tt.target, tt.whole
			if tt.target != nil {
				f.session.Status.Resolved.Targets[1].Hooks = freezing("app=b", "app=b")
			}
			if tt.whole != nil {
				f.session.Status.Resolved.Hooks = freezing("app=b", "app=b")
			}
			if tt.ended <= tt.at {
				f.at, f.jobs[job] = began.Add(tt.ended), runtest.Succeeded("one")
				g.Expect(f.step().Status.Targets[1].Phase).To(Equal(waits), "the other one has just ended")
			}
			f.at = began.Add(tt.at)
			d := f.step()
			g.Expect(d.Status.Targets[1].Phase).To(Equal(tt.want))
			g.Expect(d.Again).To(Equal(tt.again))
		})
	}
}
