package backupbatch

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func runsOf(g Gomega, t testing.TB, namespace string) []v1alpha1.BackupSession {
	var list v1alpha1.BackupSessionList
	g.Expect(bed.Client.List(t.Context(), &list, client.InNamespace(namespace))).To(Succeed())
	return list.Items
}

// The same code schedules, pauses, triggers and remembers the sessions of a batch and of a BackupConfiguration. The
// children of the batch take no part in it.
func TestTheRunsOfABatch(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := working(t)
	bed.Edit(t, batch, func() {
		batch.Spec.Paused = true
		batch.Spec.Sessions[0].Scheduler = &v1alpha1.SchedulerSpec{
			Schedule: "0 * * * *", Type: v1alpha1.SchedulerController,
		}
		batch.Spec.Sessions[0].RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 1}
	})
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(batch.Status.Sessions[0].Schedule).To(Equal("0 * * * *"))
		g.Expect(batch.Status.Sessions[0].NextSchedule).To(BeNil())
		g.Expect(conditions.IsUnknown(batch, v1alpha1.ConditionProtected)).To(BeTrue(), "no run has succeeded yet")
	}, "the batch is paused")
	var cronJobs batchv1.CronJobList
	g.Eventually(func(g Gomega) {
		g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(batch.Namespace))).To(Succeed())
		g.Expect(cronJobs.Items).To(BeEmpty())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the manager starts the runs")
	bed.Quiet(t, batch.Namespace) // Otherwise the controller can write the sessions once more.
	bed.EditStatus(t, batch, func() {
		batch.Status.Sessions[0].LastScheduleTime = new(metav1.NewTime(now.Add(-2 * time.Hour)))
	})
	bed.Edit(t, batch, func() { batch.Spec.Paused = false })
	slot := policy.BackupSessionName("shop", "hourly", now)
	g.Eventually(func(g Gomega) {
		runs := runsOf(g, t, batch.Namespace)
		g.Expect(runs).To(HaveLen(1))
		g.Expect(runs[0].Name).To(Equal(slot))
		g.Expect(runs[0].Spec.Invoker).
			To(Equal(v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupBatchKind, Name: "shop",
			}))
		g.Expect(runs[0].Spec.RetryLeft).To(Equal(int32(1)))
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the run of the newest slot exists")

	bed.Edit(t, batch,
		func() { metav1.SetMetaDataAnnotation(&batch.ObjectMeta, v1alpha1.AnnotationTrigger, "hourly/now") })
	bed.Eventually(t, batch, func(g Gomega) { g.Expect(batch.Status.LastHandledTrigger).To(Equal("hourly/now")) },
		"the controller handles the trigger annotation")
	g.Expect(runsOf(g, t, batch.Namespace)).To(HaveLen(2))

	run := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: batch.Namespace, Name: slot}}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(run), run)).To(Succeed())
	backsUp := func(name string) {
		run.Status.Resolved.Targets = append(run.Status.Resolved.Targets, v1alpha1.ResolvedTarget{
			Name: name, Configuration: policy.ChildName("shop", name), AppRef: batch.Spec.Targets[0].AppRef,
			Repositories: []v1alpha1.ResolvedRepository{{Name: name}},
		})
		run.Status.Resolved.Targets[len(run.Status.Resolved.Targets)-1].AppRef.Name = name
	}
	holds := func(repository string, snapshots int32) {
		r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: batch.Namespace, Name: repository}}
		bed.EditStatus(t, r, func() {
			r.Status.SnapshotCount, r.Status.LastBackupTime = &snapshots, new(metav1.NewTime(now))
		})
	}
	holds("web", 1)
	holds("db", 1)
	bed.EditStatus(t, run, func() {
		run.Status.Resolved = &v1alpha1.ResolvedBackup{}
		backsUp("web")
		run.Status.Phase, run.Status.CompletionTime = v1alpha1.BackupSessionSucceeded, new(metav1.NewTime(now))
	})
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(batch.Status.Sessions[0].LastSuccessTime).To(HaveField("Time", BeTemporally("==", now)))
		g.Expect(conditions.GetReason(batch, v1alpha1.ConditionProtected)).To(Equal(v1alpha1.ReasonNoBackupYet))
		g.Expect(conditions.GetMessage(batch, v1alpha1.ConditionProtected)).
			To(HaveSuffix("hourly: PersistentVolumeClaim/db in Repository db"))
	}, "the success is counted, but it lacks a target")
	bed.EditStatus(t, run, func() { backsUp("db") })
	bed.Edit(t, batch, func() { batch.Spec.Sessions[0].RetryConfig.MaxRetry = 2 })
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.IsTrue(batch, v1alpha1.ConditionProtected)).To(BeTrue())
	}, "the success has all targets")
	// Its user can have written it: then no label names the batch.
	db := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: batch.Namespace, Name: "db"}}
	bed.Edit(t, db, func() { db.Labels = nil })
	bed.Quiet(t, batch.Namespace)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(db), db)).To(Succeed())
	g.Expect(db.Labels).To(BeEmpty())
	holds("db", 0)
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.GetReason(batch, v1alpha1.ConditionProtected)).To(Equal(v1alpha1.ReasonSnapshotNotFound))
	}, "the Repository has lost its last Snapshot")
	holds("db", 1)
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.IsTrue(batch, v1alpha1.ConditionProtected)).To(BeTrue())
	}, "the Repository has a Snapshot again")
	holds("web", 0) // One that names the batch.
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.GetReason(batch, v1alpha1.ConditionProtected)).To(Equal(v1alpha1.ReasonSnapshotNotFound))
	}, "the other Repository has lost its last Snapshot")
	holds("web", 1)
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.IsTrue(batch, v1alpha1.ConditionProtected)).To(BeTrue())
	}, "the other Repository has a Snapshot again")
	bed.NoOp(t, reconciler, &events, batch)
}
