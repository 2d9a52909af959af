package backupsession

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func retries(left int32) func(*v1alpha1.BackupSession) {
	return func(s *v1alpha1.BackupSession) { s.Spec.RetryLeft = left }
}

func retryDelay(delay time.Duration) func(*v1alpha1.BackupBatch) {
	return func(b *v1alpha1.BackupBatch) {
		b.Spec.Sessions[0].RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 2}
		b.Spec.Sessions[0].RetryConfig.Delay.Duration = delay
	}
}

// failing makes the movers of the claim uploads fail this many times.
func failing(times int) func(*batchv1.Job) kubelet.Outcome {
	failed := map[string]bool{}
	return func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.TaskOf(job).Components[0].Name == "pvc" && (failed[job.Name] || len(failed) < times) {
			failed[job.Name] = true
			return kubelet.Fail(v1alpha1.ReasonStorageFull)
		}
		return kubelet.Succeed(job)
	}
}

// Another run retries the failed targets of a batch's run, and nothing else, once, wherever the manager is killed.
func TestARunIsTriedAgain(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) *world {
		w := newWorld(t)
		w.batch(retryDelay(time.Minute))
		w.Outcome, w.Killer = failing(2), killer
		w.run(v1alpha1.BackupBatchKind, "shop", "run", retries(2))
		return w
	}
	chain := func(w *world) []string {
		for range 3 {
			w.settle("run")
		}
		w.Clock.SetTime(w.Clock.Now().Add(61 * time.Second))
		for range 3 {
			w.Reconcile("run")
		}
		w.settle("run-r1")
		w.Clock.SetTime(w.Clock.Now().Add(61 * time.Second))
		for range 3 {
			w.Reconcile("run-r1")
		}
		w.settle("run-r2")
		var all []string
		for _, name := range []string{"run", "run-r1", "run-r2"} {
			s := w.session(name)
			all = append(all, name+": "+strings.Join(summary(s), ", "))
			if s.Status.Retried != nil && *s.Status.Retried {
				all = append(all, "retried")
			}
		}
		var list v1alpha1.BackupSessionList
		w.Expect(w.Client.List(w.T.Context(), &list, client.InNamespace(w.Namespace))).To(Succeed())
		w.Expect(list.Items).To(HaveLen(3), "each failure has one successor")
		return all
	}
	undisturbed := &sessiontest.Killer{}
	w := start(t, undisturbed)
	want := chain(w)
	w.Expect(want).To(Equal([]string{
		"run: Failed/TargetsFailed, web: Succeeded/Succeeded, uploads: Failed/StorageFull, db: Succeeded/Succeeded",
		"retried",
		"run-r1: Failed/StorageFull, uploads: Failed/StorageFull", "retried",
		"run-r2: Succeeded/Succeeded, uploads: Succeeded/Succeeded",
	}))
	first, second, third := w.session("run"), w.session("run-r1"), w.session("run-r2")
	w.Expect(second.Spec.RetryOf).To(Equal("run"))
	w.Expect(second.Spec.RetryLeft).To(Equal(int32(1)))
	w.Expect(second.Spec.ScheduledTime).To(Equal(first.Status.NextRetry))
	w.Expect(third.Spec.RetryLeft).To(BeZero())
	w.Expect(third.Status.Resolved.Policy).To(Equal(first.Status.Resolved.Policy))
	var point v1alpha1.SnapshotList
	w.Expect(w.Client.List(t.Context(), &point, client.InNamespace(w.Namespace),
		client.MatchingLabels{v1alpha1.LabelRestorePoint: "run"})).To(Succeed())
	w.Expect(point.Items).To(HaveLen(5),
		"the three Snapshots of the run and those of its retries are one restore point")
	w.Expect(third.Status.Snapshots).To(ConsistOf(HaveField("Name", "shop-uploads-run-r2")))
	w.Expect(w.EventReasons()).To(ContainElements("Retried"))
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		if killer.At < 30 && killer.Written {
			continue // TestKilledAtAnyWrite covers the first run.
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, killer)
			got := chain(w)
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(got).To(Equal(want))
		})
	}
}

// While a retry is pending, the next slot's run comes first and makes the retry needless. Forbid does not skip that
// run, because no run is under way. Forbid skips a slot's run that comes while the retry runs.
func TestForbidWithARetryPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration(concurrency(v1alpha1.ConcurrencyForbid), func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Sessions[0].RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 1}
		c.Spec.Sessions[0].RetryConfig.Delay.Duration = time.Minute
	})
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Fail(v1alpha1.ReasonStorageFull) }
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "a", retries(1))
	w.Expect(summary(w.settle("a"))[0]).To(Equal("Failed/StorageFull"))
	w.Expect(w.LoggedAt(1, "a", "waits to retry the failed targets")).To(HaveLen(1))
	w.Expect(w.LoggedAt(1, "a", "nothing to do: the object has ended")).To(BeEmpty())
	testbed.ASecondLater(t, w.session("a"))
	w.Outcome = kubelet.Succeed
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "b")
	w.Expect(summary(w.settle("b"))[0]).To(Equal("Succeeded/Succeeded"), "the next slot's run")
	w.Expect(w.LoggedAt(1, "b", "nothing to do: the object has ended")).To(HaveLen(1))
	w.Clock.SetTime(w.Clock.Now().Add(61 * time.Second))
	w.EventReasons()
	w.Reconcile("a")
	w.Expect(w.EventReasons()).To(Equal([]string{"RetryDropped"}))
	w.Expect(w.session("a").Status.NextRetry).To(BeNil())
	w.Reconcile("a")
	w.Expect(w.EventReasons()).To(BeEmpty())

	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Fail(v1alpha1.ReasonStorageFull) }
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "c", retries(1))
	w.settle("c")
	w.Clock.SetTime(w.Clock.Now().Add(61 * time.Second))
	w.Reconcile("c")
	w.Outcome = hang
	w.Reconcile("c-r1")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "d")
	w.Reconcile("d")
	w.Expect(summary(w.session("d"))[0]).To(Equal("Skipped/ConcurrencyForbidden"))
	w.Outcome = kubelet.Succeed
	w.Expect(summary(w.settle("c-r1"))[0]).To(Equal("Succeeded/Succeeded"))
}

// A run by hand is under way when a retry is due. It is not tried again itself: if it fails, the retry comes, although
// its starting deadline has passed meanwhile.
func TestARetryWaitsForALaterRun(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]func(*batchv1.Job) kubelet.Outcome{
		"which fails":    func(*batchv1.Job) kubelet.Outcome { return kubelet.Fail(v1alpha1.ReasonStorageFull) },
		"which succeeds": kubelet.Succeed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configuration(concurrency(v1alpha1.ConcurrencyForbid), func(c *v1alpha1.BackupConfiguration) {
				c.Spec.Sessions[0].RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 1}
				c.Spec.Sessions[0].RetryConfig.Delay.Duration = time.Minute
				c.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{
					Schedule: "0 3 * * *", StartingDeadlineSeconds: new(int64(600)),
				}
			})
			w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Fail(v1alpha1.ReasonStorageFull) }
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "a", retries(1))
			w.settle("a")
			testbed.ASecondLater(t, w.session("a"))
			w.Outcome = hang
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "b")
			for range 3 {
				w.Reconcile("b")
				w.Cluster()
			}
			w.EventReasons()
			w.Clock.SetTime(w.Clock.Now().Add(30 * time.Minute))
			for range 3 {
				w.Expect(w.Reconcile("a").RequeueAfter).To(BeNumerically(">", 0))
			}
			w.Expect(w.EventReasons()).To(BeEmpty())
			w.Expect(w.session("a").Status.NextRetry).NotTo(BeNil(), "it still waits")

			w.Outcome = outcome
			failed := summary(w.settle("b"))[0] == "Failed/StorageFull"
			w.Outcome = kubelet.Succeed
			w.EventReasons()
			w.Reconcile("a")
			if !failed {
				w.Expect(w.EventReasons()).To(Equal([]string{"RetryDropped"}))
				return
			}
			w.Expect(w.EventReasons()).To(Equal([]string{"Retried"}))
			w.Expect(summary(w.settle("a-r1"))[0]).To(Equal("Succeeded/Succeeded"))
		})
	}
}

// A later change of policy does not change the retry.
func TestARetryKeepsThePolicyOfItsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.configuration()
	w.Outcome = failing(1)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run", retries(1))
	w.settle("run")
	bed.Edit(t, c, func() { c.Spec.Sessions[0].Repositories[0].Name = "elsewhere" })
	w.Reconcile("run")
	s := w.settle("run-r1")
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	w.Expect(s.Status.Snapshots).To(ConsistOf(HaveField("Repository", "uploads")))
	w.Expect(s.Status.Resolved.Policy).To(Equal(w.session("run").Status.Resolved.Policy))
}

// A retry by hand also covers only the failed targets, of a run of the same session.
func TestARetryByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	of := func(name string) func(*v1alpha1.BackupSession) {
		return func(s *v1alpha1.BackupSession) { s.Spec.RetryOf = name }
	}
	w.Outcome = failing(1)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.settle("run")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "again", of("run"))
	w.Expect(summary(w.settle("again"))[0]).To(Equal("Succeeded/Succeeded"))
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "needless", of("again"))
	w.Expect(summary(w.settle("needless"))).To(Equal([]string{"Failed/NothingToRetry"}))
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "nothing", of("nobody"))
	w.Expect(summary(w.settle("nothing"))).To(Equal([]string{"Failed/NothingToRetry"}))
}
