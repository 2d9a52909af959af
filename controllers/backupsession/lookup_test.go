package backupsession

import (
	"context"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func TestARepositoryThatIsMissingIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"}}
	w.Expect(w.Client.Delete(t.Context(), repo)).To(Succeed())
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads"}}
	bed.EditStatus(t, c, func() {
		conditions.MarkFalse(c, meta.ReadyCondition, v1alpha1.ReasonStorageNotFound, "BackupStorage s3 does not exist")
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Expect(conditions.GetMessage(w.session("run"), meta.ReadyCondition)).To(
		Equal("waiting for target uploads: there is no Repository uploads: BackupStorage s3 does not exist"))
	w.Expect(w.EventReasons()).To(Equal([]string{v1alpha1.ReasonRepositoryNotReady}), "the event reports it at once")
	w.Reconcile("run")
	w.Expect(w.EventReasons()).To(BeEmpty(), "and once")
}

func TestARepositoryThatBecomesReadyIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.repositoryPhase(v1alpha1.PhaseNotReady)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Expect(w.Reconcile("run").RequeueAfter).To(BeNumerically(">", 0))
	w.repositoryPhase(v1alpha1.PhaseReady)
	w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
}

// A namespace can have very many Snapshots, and a batch many targets: a look must not read them all for each target.
func TestOnlyAStartLooksAtEarlierSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	w.run(v1alpha1.BackupBatchKind, "shop", "first")
	w.Expect(w.settle("first").Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db"}}
	bed.Edit(t, set, func() { set.Spec.Replicas = new(int32(1)) })
	repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-web"}}
	bed.EditStatus(t, repo, func() { repo.Status.Phase = v1alpha1.PhaseNotReady })

	var lists []string
	r := reconciler(w.World)
	r.Client = interceptor.NewClient(indexed(w.Client), interceptor.Funcs{List: func(
		ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
	) error {
		if _, ok := list.(*v1alpha1.SnapshotList); ok {
			by := "all"
			if o := (&client.ListOptions{}).ApplyOptions(opts); o.FieldSelector != nil {
				by, _ = o.FieldSelector.RequiresExactMatch(string(snapshotsByRepository))
			}
			lists = append(lists, by)
		}
		return c.List(ctx, list, opts...)
	}})
	look := func() {
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{
			Namespace: w.Namespace, Name: "second",
		}})
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.run(v1alpha1.BackupBatchKind, "shop", "second")
	for range 3 {
		look()
	}
	w.Expect(w.session("second").Status.Reason).To(Equal(v1alpha1.ReasonRepositoryNotReady))
	w.Expect(lists).To(BeEmpty(), "it waits")
	bed.EditStatus(t, repo, func() { repo.Status.Phase = v1alpha1.PhaseReady })
	for range 3 {
		look()
	}
	w.Expect(lists).To(Equal([]string{"shop-web", "shop-uploads", "shop-db"}), "once for each target")
	s := w.settle("second")
	w.Expect(conditions.GetMessage(s, v1alpha1.ConditionPartial)).
		To(ContainSubstring("db: the target no longer has what its last backup had: pod-1"))
}

func TestTheRevisionInForceIsFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sync := &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "policy"},
		Spec: v1alpha1.PolicySyncSpec{
			URL:      "https://git.example.com/policy.git",
			Interval: metav1.Duration{Duration: time.Minute},
		},
	}
	sessiontest.Create(t, w.Client, sync)
	applying := func(attempted string, reconciling metav1.ConditionStatus, reason string) {
		bed.EditStatus(t, sync, func() {
			sync.Status.LastAppliedRevision, sync.Status.LastAttemptedRevision = "main@sha1:aaaa", attempted
			sync.Status.LastAppliedSigner = "SSH key SHA256:abc"
			sync.Status.Conditions = []metav1.Condition{{
				Type: "Reconciling", Status: reconciling, Reason: reason,
				LastTransitionTime: metav1.Now(),
			}}
		})
	}
	applying("main@sha1:bbbb", metav1.ConditionTrue, v1alpha1.ReasonProgressing)
	w.configuration(func(c *v1alpha1.BackupConfiguration) {
		c.Labels = map[string]string{v1alpha1.LabelSyncName: "policy", v1alpha1.LabelSyncNamespace: w.Namespace}
		for i := range c.Spec.Sessions {
			c.Spec.Sessions[i].Scheduler = &v1alpha1.SchedulerSpec{Schedule: "*/5 * * * *"}
		}
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionPending),
		"the run waits for a revision that is being applied")

	applying("main@sha1:aaaa", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	s := w.settle("run")
	w.Expect(s.Status.Resolved.Policy.Revision).To(Equal("main@sha1:aaaa"))
	w.Expect(s.Status.Resolved.Policy.Signer).To(Equal("SSH key SHA256:abc"))
	w.Expect(s.Status.Resolved.Schedule).To(Equal("*/5 * * * *"), "the folder of the record depends on it")
	w.Expect(s.Status.Resolved.Policy.Source).To(Equal("PolicySync/" + w.Namespace + "/policy"))

	// A failed revision is retried for as long as it takes: no run waits for it.
	applying("main@sha1:bbbb", metav1.ConditionTrue, v1alpha1.ReasonProgressingWithRetry)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "second")
	w.Reconcile("second")
	w.Expect(w.session("second").Status.Phase).NotTo(Equal(v1alpha1.BackupSessionPending))
	w.Expect(w.settle("second").Status.Resolved.Policy.Revision).To(Equal("main@sha1:aaaa"))
}

func TestARunOfABatchsChildNamesTheBatchsPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	batch := w.batch()
	sync := &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "policy"},
		Spec: v1alpha1.PolicySyncSpec{
			URL:      "https://git.example.com/policy.git",
			Interval: metav1.Duration{Duration: time.Minute},
		},
	}
	sessiontest.Create(t, w.Client, sync)
	bed.EditStatus(t, sync, func() { sync.Status.LastAppliedRevision = "main@sha1:aaaa" })
	bed.Edit(t, batch, func() {
		batch.Labels = map[string]string{v1alpha1.LabelSyncName: "policy", v1alpha1.LabelSyncNamespace: w.Namespace}
	})
	w.run(v1alpha1.BackupConfigurationKind, "shop-db", "run")
	w.Expect(w.settle("run").Status.Resolved.Policy.Revision).To(Equal("main@sha1:aaaa"))
}
