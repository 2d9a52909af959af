package keeper_test

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// letGo returns a Snapshot that retention has let go, and the Job that has failed to remove its data.
func (s *shop) letGo() (*v1alpha1.Snapshot, *batchv1.Job) {
	s.t.Helper()
	s.snapshot(s.repository, 2, good)
	older := s.snapshot(s.repository, 3, good)
	s.policy("c", last(1), "web")
	job, keep := s.job()
	NewWithT(s.t).Expect(keep.Keep[0].Remove).To(HaveExactElements(HaveField("Name", older.Name)))
	s.did(job, v1alpha1.ReasonUnreachable)
	gone(s.t, job, "its result is written")
	return older, job
}

// again lets a keeper begin that would wait for a minute because the last one failed. Full maintenance is due. A
// reconcile that still sees the ended Job in its cache would note the failure once more.
func (s *shop) again(last *batchv1.Job) {
	s.t.Helper()
	bed.Quiet(s.t, s.namespace)
	lease := leaseOf(s.t, last)
	bed.Edit(s.t, lease, func() { delete(lease.Annotations, v1alpha1.AnnotationAttempts) })
	s.dueFor(task.MaintainFull)
}

// expectHeld waits until a Snapshot says why its data stays for now.
func (s *shop) expectHeld(held *v1alpha1.Snapshot, reason, message string) {
	s.t.Helper()
	g := NewWithT(s.t)
	bed.Cached(s.t, s.repository)
	look := func() {
		_, err := keepers.Reconcile(s.t.Context(), s.request())
		g.Expect(err).NotTo(HaveOccurred())
	}
	look()
	bed.Eventually(s.t, held, func(g Gomega) {
		g.Expect(conditions.GetReason(held, v1alpha1.ConditionWiped)).To(Equal(reason))
		g.Expect(conditions.GetMessage(held, v1alpha1.ConditionWiped)).To(ContainSubstring(message))
	}, reason)
	bed.Cached(s.t, held)
	version := held.ResourceVersion
	look()
	g.Expect(s.get(held.Name).ResourceVersion).To(Equal(version), "it is said once")
}

// proves lets the init Job of the Repository succeed.
func (s *shop) proves() {
	s.t.Helper()
	job := kubelet.Job(s.t, bed.Client, s.namespace, v1alpha1.LabelRepository)
	kubelet.Finish(s.t, bed.Client, job, kubelet.Report(task.Result{Outcome: task.OutcomeSucceeded}), now.Now())
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "until a check has looked")
}

// Retention can have let Snapshots go before their Repository moved, or before its directory was taken. What a person
// deleted goes at once.
func TestWhatRetentionLetGoBeforeWaitsForTheCheckInANewPlace(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*shop, *v1alpha1.Snapshot){
		"the directory was taken": func(s *shop, older *v1alpha1.Snapshot) {
			bed.EditStatus(s.t, s.repository, func() { s.repository.Status.TakenTime = &metav1.Time{Time: now.Now()} })
			s.expectHeld(older, v1alpha1.ReasonDirectoryTaken, "belongs to another one")
		},
		"the bucket moves": func(s *shop, older *v1alpha1.Snapshot) {
			bed.Edit(s.t, s.storage, func() { s.storage.Spec.Storage.S3.Prefix = "elsewhere" })
			bed.Cached(s.t, s.storage)
			s.expectHeld(older, v1alpha1.ReasonNotChecked, "until a check has looked")
			bed.MarkReady(s.t, s.storage)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newShop(t)
			older, first := s.letGo()
			begin(s, older)
			s.proves()
			s.expectHeld(older, v1alpha1.ReasonNotChecked, "until a check has looked")
			deleted := s.snapshot(s.repository, 4, good, wipeOutSnapshot)
			del(t, deleted)
			s.again(first)
			job, keep := s.job(first)
			g.Expect(keep.Keep[0].Remove).To(HaveExactElements(HaveField("Name", deleted.Name)))
			g.Expect(keep.Keep[0].Check).To(HaveLen(1), "the hold ends with the check")

			s.found(job, 1)
			_, keep = s.job(first, job)
			g.Expect(keep.Keep[0].Remove).To(HaveExactElements(HaveField("Name", older.Name)))
		})
	}
}

// Whoever deletes the Repository with its data waits for no check.
func TestWhatRetentionLetGoHoldsUpNoWipe(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	older, first := s.letGo()
	bed.EditStatus(t, s.repository, func() { s.repository.Status.TakenTime = &metav1.Time{Time: now.Now()} })
	s.proves()
	s.expectHeld(older, v1alpha1.ReasonNotChecked, "until a check has looked")
	del(t, s.repository)
	lease := leaseOf(t, first)
	bed.Edit(t, lease, func() { delete(lease.Annotations, v1alpha1.AnnotationAttempts) })
	bed.Edit(t, older, func() { older.Labels["look"] = "again" })
	wipe, keep := s.job(first)
	g.Expect(keep.Keep[0].Wipe).To(BeTrue())
	s.did(wipe, "")
	recorded(t, older)
}
