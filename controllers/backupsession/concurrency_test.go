package backupsession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func concurrency(p v1alpha1.ConcurrencyPolicy) func(*v1alpha1.BackupConfiguration) {
	return func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{Schedule: "0 2 * * *", ConcurrencyPolicy: p}
	}
}

func hang(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }

func TestForbidSkipsTheLaterRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration(concurrency(v1alpha1.ConcurrencyForbid))
	w.Outcome = hang
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "first")
	w.Reconcile("first")
	w.Cluster()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "second")
	w.Reconcile("second")
	w.Expect(summary(w.session("second"))).To(Equal([]string{"Skipped/ConcurrencyForbidden"}))
	w.Expect(w.session("second").Status.Conditions).
		To(ContainElement(HaveField("Message",
			ContainSubstring("BackupSession first of the same session has not ended"))))
	w.Expect(w.Jobs()).To(HaveLen(1))

	w.Outcome = kubelet.Succeed
	w.Expect(summary(w.settle("first"))[0]).To(Equal("Succeeded/Succeeded"))
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "third")
	w.Expect(summary(w.settle("third"))[0]).To(Equal("Succeeded/Succeeded"), "once it has ended the next one runs")
}

func TestAllowRunsBoth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration(concurrency(""))
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "first")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "second")
	w.Reconcile("first")
	w.Reconcile("second")
	w.Expect(w.Jobs()).To(HaveLen(2))
}

// A run of a batch and a run of its child are runs of the same session of the child's target.
func TestForbidOfABatchAndItsChild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch(func(b *v1alpha1.BackupBatch) {
		b.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{
			Schedule:          "0 2 * * *",
			ConcurrencyPolicy: v1alpha1.ConcurrencyForbid,
		}
	})
	w.Outcome = hang
	w.run(v1alpha1.BackupBatchKind, "shop", "whole")
	w.Reconcile("whole")
	child := policy.ChildName("shop", "uploads")
	w.run(v1alpha1.BackupConfigurationKind, child, "one")
	w.Reconcile("one")
	w.Expect(summary(w.session("one"))[0]).To(Equal("Skipped/ConcurrencyForbidden"), "the batch runs")

	w.Outcome = kubelet.Succeed
	w.settle("whole")
	w.Outcome = hang
	w.run(v1alpha1.BackupConfigurationKind, child, "two")
	w.Reconcile("two")
	w.Expect(summary(w.session("two"))[0]).To(Equal("Running/Running"))
	w.run(v1alpha1.BackupBatchKind, "shop", "again")
	w.Reconcile("again")
	w.Expect(summary(w.session("again"))[0]).To(Equal("Skipped/ConcurrencyForbidden"), "its child runs")
}

func TestReplaceEndsTheEarlierRun(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *world {
		w := newWorld(t)
		w.configuration(concurrency(v1alpha1.ConcurrencyReplace))
		w.Outcome = hang
		w.run(v1alpha1.BackupConfigurationKind, "uploads", "first")
		w.Reconcile("first")
		w.Cluster()
		w.run(v1alpha1.BackupConfigurationKind, "uploads", "second",
			func(s *v1alpha1.BackupSession) { s.Spec.RetryLeft = 1 })
		return w
	}
	// both lets the two runs go on in turns until both have ended.
	both := func(w *world) []string {
		for range 30 {
			w.Reconcile("second")
			w.Reconcile("first")
			if w.session("first").Status.Phase.Terminal() {
				w.Outcome = kubelet.Succeed
			}
			w.Cluster()
			if w.session("second").Status.Phase.Terminal() {
				break
			}
		}
		return []string{summary(w.session("first"))[0], summary(w.session("second"))[0]}
	}
	w := start(t)
	w.Reconcile("second")
	w.Expect(summary(w.session("second"))[0]).To(Equal("Pending/Replacing"))
	w.Expect(w.session("first").Annotations[v1alpha1.AnnotationReplacedBy]).To(HavePrefix("second/"))
	w.Expect(w.Jobs()).To(HaveLen(1), "the two never run side by side")
	want := []string{"Failed/Replaced", "Succeeded/Succeeded"}
	w.Expect(both(w)).To(Equal(want))
	names := []string{}
	for _, job := range w.Jobs() {
		names = append(names, job.Labels[v1alpha1.LabelBackupSession])
	}
	w.Expect(names).To(Equal([]string{"second"}), "the Jobs of the earlier run are gone")

	undisturbed := &sessiontest.Killer{}
	w = start(t)
	w.Killer = undisturbed
	w.Expect(both(w)).To(Equal(want))
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			w.Killer = killer
			w.Expect(both(w)).To(Equal(want))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
		})
	}
}

// The earlier run can take longer to end than the later one is allowed to wait for its start.
func TestARunThatReplacedAnotherIsNotTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration(concurrency(v1alpha1.ConcurrencyReplace), func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Sessions[0].Scheduler.StartingDeadlineSeconds = new(int64(60))
	})
	w.Outcome = hang
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "first")
	w.Reconcile("first")
	w.Cluster()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "second", func(s *v1alpha1.BackupSession) {
		s.Spec.ScheduledTime = new(metav1.NewTime(w.Clock.Now()).Rfc3339Copy())
	})
	w.Reconcile("second")
	w.Expect(summary(w.session("second"))[0]).To(Equal("Pending/Replacing"))
	w.Clock.SetTime(w.Clock.Now().Add(90 * time.Second))
	w.Expect(summary(w.settle("first"))[0]).To(Equal("Failed/Replaced"))
	second := w.session("second")
	second.Status.Reason = v1alpha1.ReasonHooksInProgress
	w.Expect(w.Client.Status().Update(t.Context(), second)).To(Succeed(), "it has waited for something else since")
	w.Outcome = kubelet.Succeed
	w.Expect(summary(w.settle("second"))[0]).To(Equal("Succeeded/Succeeded"))
}
