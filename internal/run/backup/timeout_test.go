package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// A duration can't tell a first backup of many terabytes from a run that hangs.
func TestARunWithoutATimeoutIsNeverTooLate(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	f := frozenAs(backup.Start{}, runtest.Target("a", "pod-0"))
	g.Expect(f.session.Status.BackupDeadline).To(BeNil())
	g.Expect(f.session.Status.Resolved.Timeout).To(BeNil())
	g.Expect(backup.DeadlineOf(f.session, "a").IsZero()).To(BeTrue())
	f.step()
	f.at = runtest.Now.AddDate(0, 0, 30)
	working := runtest.Running()
	working.Recheck = time.Minute
	f.jobs[runtest.Job("a", "pod-0", 1)] = working
	d := f.step()
	g.Expect(d.Status.Phase).To(Equal(backupRunning))
	g.Expect(d.After).To(Equal(time.Minute), "nothing but its Job wakes it")
	f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
	g.Expect(f.step().Status.Phase).To(Equal(backupSucceeded))
}

// Whatever keeps a pod from working still ends a run without a timeout.
func TestARunWithoutATimeoutEndsWithItsPod(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{v1alpha1.ReasonUnschedulable, v1alpha1.ReasonImagePullFailed} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			f := frozenAs(backup.Start{}, runtest.Target("a", "pod-0"))
			f.step()
			f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(reason, false)
			d := f.step()
			g.Expect(d.Status.Phase).To(Equal(backupFailed))
			g.Expect(d.Status.Reason).To(Equal(reason))
		})
	}
}

// A retry has the timeout of the run that it tries again, also if that had none.
func TestARetryOfARunWithoutATimeoutHasNone(t *testing.T) {
	t.Parallel()
	f := partly(1, 0)
	f.step()
	start := backup.Start{Timeout: time.Hour}
	f.session.Status.Resolved.Timeout = nil
	start.Again(&v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "again"}}, f.session, nil)
	NewWithT(t).Expect(start.Timeout).To(BeZero())
}

func TestBounds(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	timeout, deadline := run.Bounds(0, metav1.NewTime(runtest.Now))
	g.Expect(timeout).To(BeNil())
	g.Expect(deadline).To(BeNil())
	g.Expect(run.Until(deadline, runtest.Now)).To(BeZero())
	timeout, deadline = run.Bounds(time.Hour, metav1.NewTime(runtest.Now))
	g.Expect(timeout.Duration).To(Equal(time.Hour))
	g.Expect(run.Until(deadline, runtest.Now)).To(Equal(time.Hour))
	g.Expect(run.Until(deadline, runtest.Now.Add(2*time.Hour))).To(Equal(time.Second))
}
