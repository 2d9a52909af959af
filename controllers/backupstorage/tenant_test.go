package backupstorage

import (
	"slices"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// A tenant who has no key to a bucket makes the first BackupStorage there.
func TestAStorageWithoutAKeyBlocksNobody(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	attacker, bucket := bed.Namespace(t, nil), bed.Namespace(t, nil)
	tenant := bed.Tenant(t, attacker)
	squat := testbed.S3(attacker)
	squat.Spec.Storage.S3.Bucket = bucket
	g.Expect(tenant.Create(t.Context(), squat)).To(Succeed())
	expect(t, squat, v1alpha1.ReasonBackendSecretNotAvailable)
	testbed.ASecondLater(t, squat)
	victim := storageOf(t, func(s *v1alpha1.BackupStorage) { s.Spec.Storage.S3.Bucket = bucket })
	expect(t, victim, v1alpha1.ReasonProgressing)

	// A key that the server refuses proves nothing either.
	key := testbed.S3Key(attacker)
	bed.Create(t, key)
	touch(t, squat)
	refused := kubelet.Job(t, bed.Client, attacker, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, refused, kubelet.Report(failure(v1alpha1.ReasonBadCredentials)), now.Now())
	expect(t, squat, v1alpha1.ReasonBadCredentials)
	job := kubelet.Job(t, bed.Client, victim.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{Outcome: task.OutcomeSucceeded}), now.Now())
	expect(t, victim, v1alpha1.ReasonReady)
	again := kubelet.Job(t, bed.Client, attacker, v1alpha1.LabelStorage, refused)
	kubelet.Finish(t, bed.Client, again, kubelet.Report(failure(v1alpha1.ReasonStorageTaken)), now.Now())
	expect(t, squat, v1alpha1.ReasonStorageTaken)
	touch(t, victim)
	bed.Quiet(t, victim.Namespace)
	expect(t, victim, v1alpha1.ReasonReady)
}

// A tenant's pods resolve a short host name to a Service of the tenant, a proxy of its runtimeSettings leads anywhere,
// and a certificate authority of its own vouches for it. So his storage is initialised, on a server of his.
func TestAStorageOnAnotherServerBlocksNobody(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	attacker := bed.Namespace(t, nil)
	tenant := bed.Tenant(t, attacker)
	squat := testbed.S3(attacker)
	squat.Spec.Storage.S3.Endpoint, squat.Spec.Storage.S3.Bucket = "http://minio:9000", attacker
	bed.Create(t, testbed.S3Key(attacker))
	g.Expect(tenant.Create(t.Context(), squat)).To(Succeed())
	job := kubelet.Job(t, bed.Client, attacker, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(success()), now.Now())
	expect(t, squat, v1alpha1.ReasonReady)
	testbed.ASecondLater(t, squat)

	victim := storageOf(t, func(s *v1alpha1.BackupStorage) {
		s.Spec.Storage.S3.Endpoint, s.Spec.Storage.S3.Bucket = "http://minio:9000", attacker
	})
	expect(t, victim, v1alpha1.ReasonProgressing)
	job = kubelet.Job(t, bed.Client, victim.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, bed.Client, job, kubelet.Report(success()), now.Now())
	expect(t, victim, v1alpha1.ReasonReady)
	expect(t, squat, v1alpha1.ReasonReady)
}

// A default that others seem to get says that they do not.
func TestADefaultOfATenantSaysThatItIsItsOwnAlone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	for _, namespace := range []string{bed.Administrator(t), bed.Namespace(t, nil)} {
		s := testbed.S3(namespace)
		s.Spec.Default = true
		bed.Create(t, testbed.S3Key(namespace), s)
		expect(t, s, v1alpha1.ReasonProgressing)
		bed.Quiet(t, namespace)
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
		if !slices.Contains(testbed.Administrators(), namespace) {
			g.Expect(conditions.GetReason(s, v1alpha1.ConditionDefaultIgnored)).
				To(Equal(v1alpha1.ReasonDefaultNotShared))
		} else {
			g.Expect(conditions.Has(s, v1alpha1.ConditionDefaultIgnored)).To(BeFalse())
		}
	}
}
