package backupconfiguration

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func cronJobOf(configuration *v1alpha1.BackupConfiguration, session string) *batchv1.CronJob {
	return &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{
		Namespace: configuration.Namespace, Name: "trigger-" + configuration.Name + "-" + session,
	}}
}

func TestConfigurationBecomesReady(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)

	repository := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: configuration.Namespace, Name: "uploads"},
	}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.OwnerReferences).To(BeEmpty(), "data outlives policy")
	g.Expect(repository.Spec).To(Equal(v1alpha1.RepositorySpec{
		AppRef:           v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"},
		StorageRef:       v1alpha1.ObjectReference{Name: "s3"},
		Path:             "/shop/uploads",
		EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		Driver:           v1alpha1.DriverKopia,
		DeletionPolicy:   v1alpha1.DeleteObjects,
	}))

	cronJob := cronJobOf(configuration, "nightly")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(cronJob), cronJob)).To(Succeed())
	g.Expect(metav1.IsControlledBy(cronJob, configuration)).To(BeTrue())
	g.Expect(cronJob.Spec.Schedule).To(Equal("0 2 * * *"))
	g.Expect(cronJob.Spec.JobTemplate.Spec.Template.Spec.ServiceAccountName).To(Equal("cairn-trigger"))
	g.Expect(accounts.has(configuration.Namespace)).To(BeTrue(), "the reconciler asks for the trigger's ServiceAccount")

	status := configuration.Status
	g.Expect(*status.TargetFound).To(BeTrue())
	g.Expect(status.Backends).
		To(Equal([]v1alpha1.BackendStatus{{Name: "main", Ready: new(true), Storage: &v1alpha1.StorageStatus{
			Ref: v1alpha1.ObjectReference{Name: "s3", Namespace: configuration.Namespace}, Phase: v1alpha1.PhaseReady,
		}}}))
	g.Expect(status.Dependencies).To(Equal([]v1alpha1.ResourceFoundStatus{
		{TypedObjectReference: v1alpha1.TypedObjectReference{
			APIGroup: v1alpha1.Group, Kind: v1alpha1.AddonKind,
			Name: "pvc-addon",
		}, Found: new(true)},
		{TypedObjectReference: v1alpha1.TypedObjectReference{
			APIGroup: v1alpha1.Group, Kind: v1alpha1.FunctionKind,
			Name: "pvc-backup",
		}, Found: new(true)},
		{
			TypedObjectReference: v1alpha1.TypedObjectReference{
				Kind: "Secret", Namespace: configuration.Namespace, Name: "enc",
			},
			Found: new(true),
		},
	}))
	g.Expect(status.Repositories).To(Equal([]v1alpha1.RepoStatus{{Name: "uploads", Phase: v1alpha1.PhaseReady}}))
	g.Expect(status.Sessions).To(HaveLen(1))
	g.Expect(status.Sessions[0].NextSchedule.UTC()).To(Equal(time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)))
	g.Expect(conditions.IsTrue(configuration, v1alpha1.ConditionValidationPassed)).To(BeTrue())
}

func TestNoOpReconcileWritesNothing(t *testing.T) {
	t.Parallel()
	result := bed.NoOp(t, reconciler, &events, working(t))
	NewWithT(t).Expect(result.RequeueAfter).To(Equal(18*time.Hour), "the next slot")
}

func TestCronJobsFollowTheSessions(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	cronJob := cronJobOf(configuration, "nightly")

	bed.Edit(t, cronJob, func() {
		cronJob.Spec.Schedule = "* * * * *"
		cronJob.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image = "evil:latest"
	})
	bed.Eventually(t, cronJob, func(g Gomega) {
		g.Expect(cronJob.Spec.Schedule).To(Equal("0 2 * * *"))
		g.Expect(cronJob.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image).To(Equal("mover:test"))
	}, "an edited CronJob is reverted")

	bed.Edit(t, cronJob, func() {
		cronJob.Spec.TimeZone, cronJob.Spec.StartingDeadlineSeconds = new("Asia/Tokyo"), ptr.To[int64](1)
		pod := &cronJob.Spec.JobTemplate.Spec.Template.Spec
		pod.Containers = append(pod.Containers, corev1.Container{Name: "beside", Image: "evil:latest"})
		pod.Containers[0].Args = append(pod.Containers[0].Args, "--session=other")
	})
	bed.Eventually(t, cronJob, func(g Gomega) {
		g.Expect(cronJob.Spec.TimeZone).To(HaveValue(Equal("Etc/UTC")))
		g.Expect(cronJob.Spec.StartingDeadlineSeconds).To(BeNil())
		g.Expect(cronJob.Spec.JobTemplate.Spec.Template.Spec.Containers).To(HaveLen(1))
		g.Expect(cronJob.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Args).To(HaveLen(5))
		g.Expect(cronJob.Spec.Schedule).To(Equal("0 2 * * *"))
	}, "a CronJob with an added container is reverted too")

	g.Expect(bed.Client.Delete(t.Context(), cronJob)).To(Succeed())
	bed.Eventually(t, cronJob, func(Gomega) {}, "a deleted CronJob comes back")

	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions[0].Scheduler.TimeZone = new("Europe/Berlin")
		configuration.Spec.Sessions[0].Scheduler.Suspend = new(true)
	})
	bed.Eventually(t, cronJob, func(g Gomega) {
		g.Expect(*cronJob.Spec.Suspend).To(BeTrue())
		g.Expect(cronJob.Spec.TimeZone).To(HaveValue(Equal("Europe/Berlin")))
	}, "policy reaches the CronJob")
	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions[0].Scheduler.TimeZone = nil
		configuration.Spec.Sessions[0].Scheduler.Suspend = nil
	})
	bed.Eventually(t, cronJob, func(g Gomega) {
		g.Expect(*cronJob.Spec.Suspend).To(BeFalse())
		g.Expect(cronJob.Spec.TimeZone).To(HaveValue(Equal("Etc/UTC")))
	}, "a field that policy drops disappears from the CronJob")

	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions = append(configuration.Spec.Sessions, sessionOf("hourly", "17 * * * *"))
		configuration.Spec.Sessions[0].Scheduler = nil
	})
	bed.Eventually(t, cronJobOf(configuration, "hourly"), func(Gomega) {}, "a new session gets its CronJob")
	g.Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(cronJob), cronJob))
	}, testbed.Patience).Should(BeTrue(), "a session without a scheduler has none")
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Sessions).To(HaveLen(2))
		g.Expect(configuration.Status.Sessions[0].NextSchedule).To(BeNil())
		g.Expect(configuration.Status.Sessions[1].NextSchedule.UTC()).To(Equal(now.Add(17 * time.Minute)))
	}, "the status no longer names a next slot")
}

func TestForeignCronJobIsLeftAlone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	foreign := cronJobOf(configuration, "weekly")
	foreign.Spec.Schedule = "5 5 5 5 5"
	foreign.Spec.JobTemplate.Spec.Template = cronTemplate()
	bed.Create(t, foreign)

	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions = append(configuration.Spec.Sessions, sessionOf("weekly", "@weekly"))
	})

	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonNameConflict,
		`does not belong to session "weekly"`)
	g.Expect(configuration.Status.Sessions[0].NextSchedule).NotTo(BeNil(), "the other session is in order")
	g.Expect(configuration.Status.Sessions[1].Conditions[0].Reason).To(Equal(v1alpha1.ReasonSchedulerNotEnsured))
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign)).To(Succeed())
	g.Expect(foreign.Spec.Schedule).To(Equal("5 5 5 5 5"))
}

func TestInvalidPolicyKeepsTheLastGoodSchedule(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)

	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].Scheduler.Schedule = "0 0 30 2 *" })

	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonInvalidSchedule,
		"spec.sessions[0].scheduler.schedule")
	g.Expect(conditions.IsStalled(configuration)).To(BeTrue())
	g.Expect(conditions.IsFalse(configuration, v1alpha1.ConditionValidationPassed)).To(BeTrue())
	g.Eventually(func() []string { return events.Of(configuration.Namespace) }, testbed.Patience).
		Should(ContainElement(HavePrefix("Warning InvalidSchedule ")))
	cronJob := cronJobOf(configuration, "nightly")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(cronJob), cronJob)).To(Succeed())
	g.Expect(cronJob.Spec.Schedule).To(Equal("0 2 * * *"))

	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].Scheduler.Schedule = "0 3 * * *" })
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	bed.Eventually(t, cronJob, func(g Gomega) { g.Expect(cronJob.Spec.Schedule).To(Equal("0 3 * * *")) },
		"the corrected schedule is in force")
}

func TestChildOfABatchHasNoSchedule(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	bed.ReadyStorage(t, namespace)
	child := configurationOf(namespace)
	child.Spec.Sessions[0].Scheduler = nil
	bed.Create(t, testbed.Claim(namespace, "uploads"), child)
	bed.ReadyRepositories(t, namespace, "uploads")

	bed.ExpectReason(t, child, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	var cronJobs batchv1.CronJobList
	g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(namespace))).To(Succeed())
	g.Expect(cronJobs.Items).To(BeEmpty())
	g.Expect(accounts.has(namespace)).To(BeFalse(), "no ServiceAccount without a CronJob")
}

func TestRecordsAreLeftAlone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	bed.ReadyStorage(t, namespace)
	configuration := configurationOf(namespace)
	configuration.Annotations = map[string]string{v1alpha1.AnnotationRecord: "prod"}
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
	g.Eventually(func() error {
		return bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(configuration),
			&v1alpha1.BackupConfiguration{})
	}, testbed.Patience).Should(Succeed())

	_, err := reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(configuration)})

	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bed.Writes(namespace)).To(BeEmpty())
}

// A reconcile that reads a stale cache leaves a part of the status as it was. The event of that write must repair it.
func TestStatusIsPutRight(t *testing.T) {
	t.Parallel()
	configuration := working(t)
	bed.EditStatus(t, configuration, func() { configuration.Status.Phase = v1alpha1.PhaseNotReady })
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}
