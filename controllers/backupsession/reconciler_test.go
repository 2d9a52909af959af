package backupsession

import (
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions/check"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func TestARunSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	sessiontest.Create(t, w.Client, sessiontest.Pod(w.Namespace, "app", "node-a", "uploads", nil))
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")

	result := w.Reconcile("run")
	s := w.session("run")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionRunning))
	w.Expect(result.RequeueAfter).To(BeNumerically("~", time.Hour, time.Minute), "the run is requeued at the deadline")
	w.Expect(s.Finalizers).To(ConsistOf(v1alpha1.FinalizerCancel, v1alpha1.FinalizerRecord))
	w.Expect(s.Labels).To(HaveKeyWithValue(v1alpha1.LabelInvokerName, "uploads"))
	w.Expect(metav1.GetControllerOf(s).Name).To(Equal("uploads"))
	w.Expect(s.Status.Resolved.Policy.Digest).To(HavePrefix("sha256:"))
	target := s.Status.Resolved.Targets[0]
	w.Expect(target.Task.Image).To(Equal("mover:test"))
	w.Expect(target.Hosts[0].Node).To(Equal("node-a"))
	w.Expect(target.Repositories[0].Directory).To(Equal("uploads"))

	snap := w.snapshot("uploads-run")
	w.Expect(metav1.GetControllerOf(snap).Kind).To(Equal(v1alpha1.RepositoryKind))
	jobs := w.Jobs()
	w.Expect(jobs).To(HaveLen(1))
	w.Expect(metav1.IsControlledBy(&jobs[0], s)).To(BeTrue())
	w.Expect(snap.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationMovers, "pvc="+jobs[0].Name))
	w.Expect(kubelet.TaskOf(&jobs[0]).Snapshot.UID).To(Equal(snap.UID))

	s = w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	w.Expect(s.Finalizers).To(ConsistOf(v1alpha1.FinalizerRecord), "the ledger's collector still needs it")
	w.Expect(s.Status.Targets[0].Size).To(Equal("2.000 MiB"))
	w.Expect(s.Status.Targets[0].Uploaded).To(Equal("1024.000 KiB"))
	w.Expect(w.Jobs()).To(HaveLen(1), "the Jobs stay as history")
	check.NewChecker(w.Client, negative).WithT(w.WithT).CheckErr(t.Context(), s)
	snap = w.snapshot("uploads-run")
	w.Expect(snap.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	w.Expect(snap.Status.Components["pvc"].ID).To(Equal("kpvc"))
	check.NewChecker(w.Client, negative).WithT(w.WithT).CheckErr(t.Context(), snap)
	w.Expect(w.EventReasons()).To(Equal([]string{"Started", "Succeeded"}))

	w.Clock.SetTime(w.Clock.Now().Add(24 * time.Hour))
	w.Reconcile("run")
	w.Expect(w.session("run")).To(Equal(s), "an ended run never changes")
	w.Expect(w.EventReasons()).To(BeEmpty())
}

func TestWhatWasFrozenStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	// The manager is killed right after it wrote the frozen state: adopt and freeze are the first two writes.
	w.Killer = &sessiontest.Killer{At: 3}
	w.Reconcile("run")
	frozen := w.session("run").Status.Resolved
	w.Expect(frozen).NotTo(BeNil())
	w.Expect(w.snapshots()).To(BeEmpty())
	w.Expect(w.Jobs()).To(BeEmpty())

	bed.Edit(t, c, func() { c.Spec.Sessions[0].Addon.Name = "another" })
	w.Expect(w.Client.Delete(t.Context(), c)).To(Succeed())
	s := w.settle("run")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	w.Expect(s.Status.Resolved).To(Equal(frozen))
}

func TestOneTargetOfABatchFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.TaskOf(job).Components[0].Name == "pod-1" {
			return kubelet.Fail(v1alpha1.ReasonUnreadable)
		}
		return kubelet.Succeed(job)
	}
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{
		"Failed/TargetsFailed", "web: Succeeded/Succeeded", "uploads: Succeeded/Succeeded", "db: Failed/Unreadable",
	}))
	w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Type", v1alpha1.ConditionPartial)))
	w.Expect(w.Jobs()).To(HaveLen(4))
	w.Expect(w.snapshot("shop-db-run").Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
	w.Expect(w.snapshot("shop-db-run").Status.Components["pod-0"].Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	w.Expect(w.EventReasons()).To(Equal([]string{"Started", "TargetsFailed"}))
	check.NewChecker(w.Client, negative).WithT(w.WithT).CheckErr(t.Context(), s)
}

// Users can write the annotation with the movers.
func TestTheLogNamesOnlyMoversOfTheRun(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit func(movers string) string
		want int
	}{
		"beside the mover of the run":      {func(m string) string { return m + ",x=removed-namespace-prod" }, 1},
		"in place of the mover of the run": {func(string) string { return "pvc=removed-namespace-prod" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configuration()
			w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.Reconcile("run")
			w.Cluster()
			snap := w.snapshot("uploads-run")
			snap.Annotations[v1alpha1.AnnotationMovers] = tt.edit(snap.Annotations[v1alpha1.AnnotationMovers])
			w.Expect(w.Client.Update(t.Context(), snap)).To(Succeed())
			w.Clock.SetTime(w.Clock.Now().Add(time.Hour))
			lines := w.Logged("run", "fenced movers")
			w.Expect(lines).To(HaveLen(tt.want))
			w.Expect(lines).NotTo(ContainElement(ContainSubstring("prod")))
		})
	}
}

func TestTheDeadlineEndsARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Cluster()
	w.Reconcile("run")
	w.Clock.SetTime(w.Clock.Now().Add(time.Hour))
	w.Reconcile("run")
	s := w.session("run")
	w.Expect(summary(s)).To(Equal([]string{"Failed/DeadlineExceeded", "uploads: Failed/DeadlineExceeded"}))
	w.Expect(s.Status.Duration).To(HavePrefix("1h0m"))
	w.Expect(w.snapshot("uploads-run").Annotations[v1alpha1.AnnotationMovers]).
		To(BeEmpty(), "its mover is not allowed to write any more")
	for _, job := range w.Jobs() {
		w.Expect(job.DeletionTimestamp).NotTo(BeNil(), "its Job is being deleted")
	}
}

func TestARunThatIsDeletedIsCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.TaskOf(job).Components[0].Name == "pod-1" {
			return kubelet.Outcome{Hang: true}
		}
		return kubelet.Succeed(job)
	}
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Reconcile("run")
	w.Cluster()
	w.Reconcile("run")
	w.Expect(w.Client.Delete(t.Context(), w.session("run"))).To(Succeed())
	w.Reconcile("run")
	w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionRunning), "its pods still exist")
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{
		"Failed/Cancelled", "web: Succeeded/Succeeded", "uploads: Succeeded/Succeeded", "db: Failed/Cancelled",
	}))
	w.Expect(w.Jobs()).To(BeEmpty())
	w.Expect(s.Finalizers).To(Equal([]string{v1alpha1.FinalizerRecord}), "the run stays until it is recorded")
	w.Expect(w.EventReasons()).To(Equal([]string{"Started", "Cancelled"}))
}

func TestAMoverThatDiedWithoutAWordIsRunOnceMore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		second kubelet.Outcome
		want   string
	}{
		"and reports":   {want: "Succeeded/Succeeded"},
		"and dies, too": {second: kubelet.Outcome{}, want: "Failed/JobFailed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configuration()
			seen := 0
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				if seen++; seen == 2 && tt.want == "Succeeded/Succeeded" {
					return kubelet.Succeed(job)
				}
				return tt.second
			}
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			s := w.settle("run")
			w.Expect(summary(s)[0]).To(Equal(tt.want))
			w.Expect(w.Jobs()).To(HaveLen(2), "one repetition, however it ends")
		})
	}
}

func TestAJobThatSomebodyDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Reconcile("run")
	w.deleteJobs()
	w.Reconcile("run")
	w.Expect(summary(w.session("run"))[0]).To(Equal("Failed/JobVanished"))
	w.Expect(w.Jobs()).To(BeEmpty())
}

func TestCredentialsOfAStorageElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	var secrets corev1.SecretList
	w.Expect(w.Client.List(t.Context(), &secrets, client.InNamespace(w.Namespace),
		client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})).To(Succeed())
	w.Expect(secrets.Items).To(HaveLen(1))
	w.Expect(secrets.Items[0].Data).NotTo(HaveKey("unrelated"))
	w.Expect(metav1.IsControlledBy(&secrets.Items[0], w.session("run"))).To(BeTrue(), "the copy goes with the run")
}

func TestAStorageThatIsNotAllowedAnyMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Killer = &sessiontest.Killer{At: 3}
	w.Reconcile("run") // This freezes the run and creates no Job.
	w.revokeStorage()
	refused := w.Logged("run", "refused")
	for _, snapshot := range []string{"shop-web-run", "shop-uploads-run", "shop-db-run"} {
		w.Expect(refused).To(ContainElement(ContainSubstring(`"name"="`+snapshot+`"`), &[]string{}), snapshot)
	}
	w.Expect(refused).To(HaveLen(3), "each once")
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{
		"Failed/TargetsFailed", "web: Failed/StorageNotAllowed", "uploads: Failed/StorageNotAllowed",
		"db: Failed/StorageNotAllowed",
	}))
	for _, target := range s.Status.Targets {
		w.Expect(target.Message).
			To(ContainSubstring(fmt.Sprintf("the usagePolicy of BackupStorage %s/%s does not allow the namespace %s",
				w.Storage, sessiontest.StorageName, w.Namespace)))
	}
	w.Expect(w.Jobs()).To(BeEmpty())
}

func TestARestoreThatBeganBeforeTheJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Killer = &sessiontest.Killer{At: 3}
	w.Reconcile("run") // This freezes the run; then the manager was down.
	w.restoreInto("uploads")
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{"Failed/RestoreInProgress", "uploads: Failed/RestoreInProgress"}))
	w.Expect(w.Jobs()).To(BeEmpty(), "half a restore is not worth a backup")
}

func TestANameThatAnotherRunUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	first := w.settle("run")
	first.Finalizers = nil
	w.Expect(w.Client.Update(t.Context(), first)).To(Succeed())
	w.Expect(w.Client.Delete(t.Context(), first)).To(Succeed())

	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.settle("run")
	w.Expect(summary(s)[0]).To(Equal("Failed/NameConflict"), "a Snapshot of another run is no success of this one")
	w.Expect(w.snapshot("uploads-run").Status.Phase).
		To(Equal(v1alpha1.SnapshotSucceeded), "and the Snapshot stays as it is")
}

func TestARecordStartsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run", func(s *v1alpha1.BackupSession) {
		s.Annotations = map[string]string{v1alpha1.AnnotationRecord: "cluster"}
	})
	before := w.session("run")
	w.Reconcile("run")
	w.Expect(w.session("run")).To(Equal(before))
}

func TestTheResultOfAMoverIsReadFromItsStatusToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	snap := w.snapshot("uploads-run")
	before := snap.DeepCopy()
	snap.Status.Components = map[string]v1alpha1.Component{"pvc": {
		Phase: v1alpha1.SnapshotSucceeded, ID: "own",
		SizeBytes: 5,
	}}
	w.Expect(w.Client.Status().Patch(t.Context(), snap, client.MergeFrom(before), client.FieldOwner("cairn-mover"))).
		To(Succeed())
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{} }
	s := w.settle("run")
	w.Expect(summary(s)[0]).To(Equal("Succeeded/Succeeded"))
	w.Expect(w.snapshot("uploads-run").Status.Components["pvc"].ID).To(Equal("own"))
	w.Expect(w.Jobs()).To(HaveLen(1))
}

func TestTheMoversAccountIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	key := client.ObjectKey{Namespace: w.Namespace, Name: v1alpha1.MoverServiceAccount}
	w.Expect(w.Client.Get(t.Context(), key, &corev1.ServiceAccount{})).To(Succeed())
	w.Expect(w.Jobs()[0].Spec.Template.Spec.ServiceAccountName).To(Equal(key.Name))
}

// negative holds the conditions that exist only while they matter.
var negative = &check.Conditions{NegativePolarity: []string{"Stalled", "Partial", "Reconciling"}}
