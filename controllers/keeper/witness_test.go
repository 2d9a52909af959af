package keeper_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
)

// A storage has gone back in time. The keeper that was to remove what retention let go finds that the newest Snapshot
// is missing. The Repository says so, and a check finds out what else is.
func TestAKeeperThatMissesASnapshotMakesTheRepositoryLook(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	bed.EditStatus(t, s.repository, func() { s.repository.Status.LastBackupTime = &metav1.Time{Time: now.Now()} })
	newest := s.snapshot(s.repository, 2, good)
	older := s.snapshot(s.repository, 3, good)
	s.policy("c", last(1), "web")
	job, keep := s.job()
	g.Expect(keep.Keep[0].Remove).To(HaveExactElements(HaveField("Name", older.Name)))
	g.Expect(keep.Keep[0].Witnesses).To(HaveExactElements(task.Witness{Snapshot: newest.Name, ID: "id-" + newest.Name}))
	s.did(job, v1alpha1.ReasonRepositoryNotFound)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(s.repository.Status.GoneTime).NotTo(BeNil())
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionMaintained)).To(
			Equal(v1alpha1.ReasonRepositoryNotFound), "a removal alone has no condition")
	}, "it is doubted")
	gone(t, job, "its result is written")
	s.proves()
	bed.EditStatus(t, s.repository, func() { // by the clock of the API server, which dates the deletion
		s.repository.Status.MovedTime = &metav1.Time{Time: time.Now()}
	})
	s.expectHeld(older, v1alpha1.ReasonNotChecked, "until a check has looked")
	s.again(job)
	check, keep := s.job(job)
	g.Expect(keep.Keep[0].Maintain).To(BeEmpty())
	g.Expect(keep.Keep[0].Check).To(HaveExactElements(HaveField("Snapshot", newest.Name)))
	g.Expect(keep.Keep[0].Witnesses).To(BeEmpty())
	s.found(check, 1, 0)
	bed.Eventually(t, newest, func(g Gomega) {
		g.Expect(v1alpha1.Damaged(newest.Status.Integrity)).To(BeTrue())
	}, "it is damaged")
	gone(t, check, "its result is written")
	bed.Cached(t, newest)
	s.expectHeld(older, v1alpha1.ReasonLastSuccess, "To restore it before that, name it")
}

// The newest Snapshots are damaged, and somebody deletes them, as the guide says. What retention had let go for them is
// all that is left. Another session shares the Repository, and backs up something else.
func TestTheLastWholeSnapshotStaysThatRetentionLetGo(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	bed.EditStatus(t, s.repository, func() { s.repository.Status.LastBackupTime = &metav1.Time{Time: now.Now()} })
	s.snapshot(s.repository, 1, good, func(x *v1alpha1.Snapshot) { x.Spec.Session = "hourly" })
	older, job, next := s.lastWhole()
	s.expectHeld(older, v1alpha1.ReasonLastSuccess, "its removal had begun, and a part of it can be gone")
	g.Expect(retention.Waits(v1alpha1.ReasonLastSuccess)).To(BeTrue(), "nothing has failed")
	s.expectNoPolls()

	s.snapshot(s.repository, 0, good)
	s.again(job)
	last, keep := s.job(job, next)
	g.Expect(keep.Keep[0].Remove).To(HaveExactElements(HaveField("Name", older.Name)), "there is another one")
	s.did(last, "")
}

// lastWhole lets retention let a Snapshot go for a newer one, which somebody deletes before its data is removed: it is
// the last whole one then. It returns that Snapshot and the keeper's Jobs, all of which have ended.
func (s *shop) lastWhole() (older *v1alpha1.Snapshot, job, next *batchv1.Job) {
	s.t.Helper()
	g := NewWithT(s.t)
	newest := s.snapshot(s.repository, 2, good)
	older = s.snapshot(s.repository, 3, good)
	s.policy("c", last(1), "web")
	job, keep := s.job()
	g.Expect(keep.Keep[0].Remove).To(HaveExactElements(HaveField("Name", older.Name)))
	s.did(job, v1alpha1.ReasonUnreachable)
	gone(s.t, job, "its result is written")
	g.Expect(bed.Client.Delete(s.t.Context(), newest)).To(Succeed())
	bed.Cached(s.t, newest)
	s.again(job)
	next, keep = s.job(job)
	g.Expect(keep.Keep[0].Remove).To(BeEmpty())
	s.did(next, "")
	gone(s.t, next, "its result is written")
	return older, job, next
}

// expectNoPolls asserts that the keeper does not look again and again for what only a backup or a check ends.
func (s *shop) expectNoPolls() {
	s.t.Helper()
	bed.Quiet(s.t, s.namespace)
	keepers := newKeepers(bed.Manager.GetClient(), bed.Manager.GetAPIReader(), now)
	result, err := keepers.Reconcile(s.t.Context(), s.request())
	g := NewWithT(s.t)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(BeNumerically(">", time.Hour), "what ends the wait wakes the keeper")
}

// The newest Snapshot is damaged, and somebody deletes its object: its data stays. A restore of the latest advises a
// scan, which makes it again, and knows nothing of the damage. What retention had let go can be the last whole one.
func TestWhatAScanMadeReleasesNoWholeSnapshotBeforeACheck(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	bed.EditStatus(t, s.repository, func() { s.repository.Status.LastBackupTime = &metav1.Time{Time: now.Now()} })
	older, job, next := s.lastWhole()

	half := s.snapshot(s.repository, 1, good, func(x *v1alpha1.Snapshot) {
		x.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "of a restore that broke off"}
	})
	rebuilt := s.snapshot(s.repository, 4, good, func(x *v1alpha1.Snapshot) {
		x.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: "uid"}
	})
	s.expectHeld(older, v1alpha1.ReasonLastSuccess, "none of those is left whole")
	s.expectNoPolls()
	s.again(job)
	check, keep := s.job(job, next)
	g.Expect(keep.Keep[0].Remove).To(BeEmpty(), "nobody has looked at what the scan found")
	g.Expect(keep.Keep[0].Check).To(HaveExactElements(
		HaveField("Snapshot", half.Name), HaveField("Snapshot", rebuilt.Name)))
	s.found(check, 2)
	integrity(t, rebuilt, "true")
	last, keep := s.job(job, next, check)
	g.Expect(keep.Keep[0].Remove).To(HaveExactElements(HaveField("Name", older.Name)), "the check ends the wait")
	s.did(last, "")
}
