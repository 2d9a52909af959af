package backupstorage

import (
	"os"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

var (
	bed    testbed.Bed
	events testbed.Events
	now    = clocktesting.NewFakePassiveClock(time.Now())
)

func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.AsManager(), testbed.WithManifests(testbed.UserRoles), testbed.WithControllers(func(
		mgr ctrl.Manager,
	) error {
		return (&Reconciler{
			Client: mgr.GetClient(), EventRecorder: &events, APIReader: mgr.GetAPIReader(), Clock: now,
			MoverImage: "mover:test", ClusterUID: "uid-cluster", FieldManager: "cairn-manager",
			Administrators: testbed.Administrators(),
		}).SetupWithManager(mgr, controller.Options{})
	})))
}

// storageOf creates an S3 storage in a bucket of its own, with its Secret.
func storageOf(t testing.TB, change ...func(*v1alpha1.BackupStorage)) *v1alpha1.BackupStorage {
	t.Helper()
	s := testbed.S3(bed.Namespace(t, nil))
	for _, f := range change {
		f(s)
	}
	bed.Create(t, testbed.S3Key(s.Namespace), s)
	return s
}

func expect(t testing.TB, s *v1alpha1.BackupStorage, reason string) {
	t.Helper()
	phase := v1alpha1.PhaseNotReady
	if reason == v1alpha1.ReasonReady {
		phase = v1alpha1.PhaseReady
	}
	bed.ExpectReason(t, s, phase, reason, "")
}

func success() task.Result {
	return task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded}
}

func failure(reason string) task.Result {
	return task.Result{Outcome: task.OutcomeFailed, Reason: reason, Message: "it went wrong"}
}

func noJobs(t testing.TB, namespace string) {
	t.Helper()
	NewWithT(t).Eventually(func(g Gomega) {
		var jobs batchv1.JobList
		g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(namespace))).To(Succeed())
		g.Expect(jobs.Items).To(BeEmpty())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "finished init Jobs go")
}

// touch triggers a reconcile.
func touch(t testing.TB, s *v1alpha1.BackupStorage) {
	t.Helper()
	bed.Edit(t, s, func() { s.Labels = map[string]string{"touched": s.Labels["touched"] + "x"} })
}

func TestAStorageIsInitialisedOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	expect(t, s, v1alpha1.ReasonProgressing)
	job := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	g.Expect(metav1.IsControlledBy(job, s)).To(BeTrue())
	g.Expect(job.Spec.Template.Spec.ServiceAccountName).To(Equal(v1alpha1.MoverServiceAccount))
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: s.Namespace, Name: v1alpha1.MoverServiceAccount},
		&corev1.ServiceAccount{})).To(Succeed())
	kubelet.Finish(t, bed.Client, job, kubelet.Report(success()), now.Now())
	expect(t, s, v1alpha1.ReasonReady)
	g.Expect(conditions.IsTrue(s, v1alpha1.ConditionBackendInitialized)).To(BeTrue())
	g.Expect(conditions.IsTrue(s, v1alpha1.ConditionBackendSecretFound)).To(BeTrue())
	noJobs(t, s.Namespace)

	writes := bed.Quiet(t, s.Namespace)
	touch(t, s)
	bed.StaysQuiet(t, s.Namespace, writes, "no change, no write")
	g.Expect(events.Of(s.Namespace)).To(Equal([]string{"Normal Ready the backend can be used"}))
}

func TestAnotherBackendOrCredentialIsInitialisedAnew(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	first := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, first, kubelet.Report(success()), now.Now())
	expect(t, s, v1alpha1.ReasonReady)

	var secret corev1.Secret
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: s.Namespace, Name: "key"}, &secret)).To(Succeed())
	secret.StringData = map[string]string{v1alpha1.S3SecretAccessKey: "rotated"}
	g.Expect(bed.Client.Update(t.Context(), &secret)).To(Succeed())
	touch(t, s)
	second := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first)
	expect(t, s, v1alpha1.ReasonReady) // proving a changed credential does not make a storage unready
	kubelet.Finish(t, bed.Client, second, kubelet.Report(failure(v1alpha1.ReasonBadCredentials)), now.Now())
	expect(t, s, v1alpha1.ReasonBadCredentials)

	bed.Edit(t, s, func() { s.Spec.Storage.S3.Prefix = "elsewhere" })
	third := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first, second)
	kubelet.Finish(t, bed.Client, third, kubelet.Report(success()), now.Now())
	expect(t, s, v1alpha1.ReasonReady)
	noJobs(t, s.Namespace)
}

// This test moves the clock, so it runs before the parallel ones.
func TestAFailedInitialisationSaysWhyAndIsTriedAgainAfterAMinute(t *testing.T) {
	g := NewWithT(t)
	s := storageOf(t)
	first := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, first, kubelet.Report(failure(v1alpha1.ReasonBucketNotFound)), now.Now())
	expect(t, s, v1alpha1.ReasonBucketNotFound)
	g.Expect(conditions.GetMessage(s, meta.ReadyCondition)).To(Equal("it went wrong"))
	g.Expect(conditions.IsFalse(s, v1alpha1.ConditionBackendInitialized)).To(BeTrue())

	now.SetTime(now.Now().Add(50 * time.Second))
	touch(t, s)
	g.Consistently(func() error {
		return bed.Client.Get(t.Context(), client.ObjectKeyFromObject(first), &batchv1.Job{})
	}, time.Second, 100*time.Millisecond).Should(Succeed(), "it is too early")

	now.SetTime(now.Now().Add(time.Minute))
	touch(t, s)
	second := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first)
	expect(t, s, v1alpha1.ReasonBucketNotFound) // the last result stays during the retry
	kubelet.Finish(t, bed.Client, second, kubelet.Report(success()), now.Now())
	expect(t, s, v1alpha1.ReasonReady)
	g.Eventually(func() []string { return events.Of(s.Namespace) }, testbed.Patience).
		Should(Equal([]string{"Warning BucketNotFound it went wrong", "Normal Ready the backend can be used"}))
}

func TestAMissingSecretIsSaid(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t, func(s *v1alpha1.BackupStorage) { s.Spec.Storage.S3.SecretName = "absent" })
	expect(t, s, v1alpha1.ReasonBackendSecretNotAvailable)
	g.Expect(conditions.IsFalse(s, v1alpha1.ConditionBackendSecretFound)).To(BeTrue())
	noJobs(t, s.Namespace)
}

func TestOfTwoStoragesInOnePlaceTheBackendDecides(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	older := storageOf(t)
	expect(t, older, v1alpha1.ReasonProgressing)
	younger := storageOf(t, func(s *v1alpha1.BackupStorage) {
		s.Spec.Storage.S3.Bucket, s.Spec.Storage.S3.Prefix = older.Namespace, "/"
	})
	expect(t, younger, v1alpha1.ReasonProgressing)
	first := kubelet.Job(t, bed.Client, younger.Namespace, v1alpha1.LabelStorage)
	g.Expect(storageIn(t, first).Rivals).To(BeEmpty(), "the older one has proved nothing yet")
	job := kubelet.Job(t, bed.Client, older.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(success()), now.Now())
	expect(t, older, v1alpha1.ReasonReady)
	bed.Eventually(t, first, func(g Gomega) { g.Expect(first.DeletionTimestamp).NotTo(BeNil()) },
		"its Job does not know of the rival")
	kubelet.Finish(t, bed.Client, first, kubelet.Report(success()), now.Now())

	second := kubelet.Job(t, bed.Client, younger.Namespace, v1alpha1.LabelStorage, first)
	g.Expect(storageIn(t, second).Rivals).To(ConsistOf(older.UID))
	kubelet.Finish(t, bed.Client, second, kubelet.Report(failure(v1alpha1.ReasonStorageTaken)), now.Now())
	expect(t, younger, v1alpha1.ReasonStorageTaken)
	g.Expect(bed.Client.Delete(t.Context(), older)).To(Succeed())
	third := kubelet.Job(t, bed.Client, younger.Namespace, v1alpha1.LabelStorage, first, second)
	g.Expect(storageIn(t, third).Rivals).To(BeEmpty())
	kubelet.Finish(t, bed.Client, third, kubelet.Report(success()), now.Now())
	expect(t, younger, v1alpha1.ReasonReady)
}

func TestARecordIsNotActedOn(t *testing.T) {
	t.Parallel()
	s := storageOf(t,
		func(s *v1alpha1.BackupStorage) { s.Annotations = map[string]string{v1alpha1.AnnotationRecord: "c"} })
	bed.StaysQuiet(t, s.Namespace, nil, "a record is history")
}

func TestAnInitJobWaitsUntilTheOneBeforeItIsGone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := storageOf(t)
	first := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage)
	expect(t, s, v1alpha1.ReasonProgressing)
	bed.Edit(t, s, func() { s.Spec.Storage.S3.Prefix = "elsewhere" })
	bed.Eventually(t, first, func(g Gomega) { g.Expect(first.DeletionTimestamp).NotTo(BeNil()) },
		"the old Job is being deleted")
	g.Consistently(jobsOf(t, s.Namespace), 3*time.Second, 200*time.Millisecond).
		Should(Equal([]string{first.Name}), "its pod can still run")
	second := kubelet.Job(t, bed.Client, s.Namespace, v1alpha1.LabelStorage, first)
	g.Expect(second.Name).NotTo(Equal(first.Name))
}

func TestOfTwoDefaultsOfANamespaceTheOlderCounts(t *testing.T) {
	t.Parallel()
	namespace := bed.Namespace(t, nil)
	bed.Create(t, testbed.S3Key(namespace))
	older, younger := testbed.S3(namespace), testbed.S3(namespace)
	older.Spec.Default, younger.Spec.Default = true, true
	older.Spec.UsagePolicy, younger.Spec.UsagePolicy = nil, nil // they offer themselves to nobody else
	younger.Name, younger.Spec.Storage.S3.Prefix = "second", "second"
	bed.Create(t, older)
	testbed.ASecondLater(t, older)
	bed.Create(t, younger)
	bed.Eventually(t, younger, func(g Gomega) {
		g.Expect(conditions.GetReason(younger, v1alpha1.ConditionDefaultIgnored)).To(Equal(v1alpha1.ReasonDefaultTaken))
		g.Expect(conditions.GetMessage(younger, v1alpha1.ConditionDefaultIgnored)).To(Equal(
			"BackupStorage s3 is already the default of this namespace: set spec.default: false on one of them"))
	}, "the younger one reports that it has no effect")
	bed.Edit(t, older, func() { older.Spec.Default = false })
	bed.Eventually(t, younger, func(g Gomega) {
		g.Expect(conditions.Has(younger, v1alpha1.ConditionDefaultIgnored)).To(BeFalse())
	}, "the younger one is the default now")
}
