package repository

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// fails ends an init Job with a reason, a while ago: the next one is due.
func fails(t testing.TB, job *batchv1.Job, reason string) {
	t.Helper()
	kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: reason, Message: "m",
	}), now.Now().Add(-time.Hour))
}

// Somebody has deleted the bucket, or the data in it. A run meets that, and the Repository says so until it is back.
func TestWhatARunFindsGoneIsSaidByTheRepositoryToo(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{
		v1alpha1.ReasonBucketNotFound, v1alpha1.ReasonRepositoryNotFound, v1alpha1.ReasonRepositoryDamaged,
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			r, first := initialised(t, storageOf(t))
			failed := failedFor(t, r, "failed", reason)
			proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
			g.Expect(taskOf(t, proof).Repository.MustExist).To(BeTrue(), "the init Job creates no new repository")
			expect(t, r, v1alpha1.ReasonReady) // until the result is known
			fails(t, proof, reason)
			expect(t, r, reason)
			again := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof)

			g.Expect(bed.Client.Delete(t.Context(), failed)).To(Succeed())
			unasked := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof, again)
			bed.Quiet(t, r.Namespace)
			expect(t, r, reason) // the Snapshot that has told it is gone, and the repository is not back
			gone := reason != v1alpha1.ReasonRepositoryDamaged
			g.Expect(r.Status.GoneTime != nil).To(Equal(gone))
			bed.EditStatus(t, r, func() { r.Status.LastBackupTime = &metav1.Time{Time: now.Now()} })
			proves(t, r, unasked)
			g.Expect(r.Status.GoneTime).To(BeNil())
			g.Expect(r.Status.MovedTime != nil).To(Equal(gone), "a part of it can be missing")
			staysReady(t, r)
		})
	}
}

// Single packs are gone: that spoils some Snapshots, and the repository can still be used.
func TestALostPackCastsOneDoubtForEachFailure(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, first := initialised(t, storageOf(t))
	seen := []client.Object{first}
	for _, name := range []string{"01", "02"} {
		failedFor(t, r, name, v1alpha1.ReasonRepositoryDamaged)
		proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, seen...)
		proves(t, r, proof)
		bed.Eventually(t, r, func(g Gomega) { g.Expect(r.Status.ProvedAfter).To(Equal(name)) }, "it is proved")
		staysReady(t, r)
		g.Expect(r.Status.MovedTime).To(BeNil(), "what was checked stays checked")
		seen = append(seen, proof)
	}
}

// A keeper proves nothing. An init Job looks once for each finding, and writes a lost repository.yaml again.
func TestWhatAKeeperFindsGoneIsLookedAt(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, first := initialised(t, storageOf(t))
	seen := []client.Object{first}
	for range 2 {
		bed.EditStatus(t, r, func() {
			r.Status.LastBackupTime = &metav1.Time{Time: now.Now()}
			conditions.MarkFalse(r, v1alpha1.ConditionMaintained, v1alpha1.ReasonRepositoryNotFound, "no yaml")
		})
		proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, seen...)
		g.Expect(taskOf(t, proof).Repository.MustExist).To(BeTrue())
		bed.Eventually(t, r, func(g Gomega) { g.Expect(r.Status.GoneTime).NotTo(BeNil()) }, "it is doubted")
		proves(t, r, proof)
		bed.Eventually(t, r, func(g Gomega) { g.Expect(r.Status.GoneTime).To(BeNil()) }, "it is proved")
		g.Expect(r.Status.MovedTime).NotTo(BeNil())
		g.Expect(conditions.GetMessage(r, v1alpha1.ConditionChecked)).To(ContainSubstring("since it came back"))
		g.Expect(conditions.Has(r, v1alpha1.ConditionMaintained)).To(BeFalse(), "the next keeper writes it")
		staysReady(t, r)
		seen = append(seen, proof)
	}
}
