package keeper_test

import (
	"context"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// moved gives the Repository another place, and a check there to come. It returns the Snapshot that its policy lets go.
func (s *shop) moved() (older *v1alpha1.Snapshot) {
	s.t.Helper()
	return s.movedBefore(0)
}

// movedBefore does so as if it was so many days ago.
func (s *shop) movedBefore(days int) (older *v1alpha1.Snapshot) {
	s.t.Helper()
	s.snapshot(s.repository, 24*days+1, good)
	older = s.snapshot(s.repository, 24*days+2, good)
	bed.EditStatus(s.t, s.repository, func() {
		s.repository.Status.LastBackupTime = &metav1.Time{Time: now.Now()}
		retention.Leave(s.repository, metav1.NewTime(now.Now().AddDate(0, 0, -days)), retention.WhyMoved)
	})
	s.policy("c", last(1), "web")
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "until a check has looked")
	s.dueFor(task.MaintainFull)
	return older
}

// What is known of the Snapshots was found in the place where the Repository was before.
func TestNothingIsRemovedBeforeACheckInANewPlace(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	older := s.moved()
	job, _ := s.job()
	s.checkFails(job, v1alpha1.ReasonUnreachable)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonUnreachable))
	}, "the check failed")
	bed.Quiet(t, s.namespace)
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "")
	expectKept(t, older)

	bed.EditStatus(t, s.repository, func() {
		conditions.MarkTrue(s.repository, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked, "done")
	})
	g.Eventually(func(g Gomega) {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(older), older)).To(Succeed())
		g.Expect(older.DeletionTimestamp).NotTo(BeNil())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "a check was done")
}

// Another cluster has adopted the directory. What it keeps there is its own decision, and what it has removed is not
// known before a check.
func TestNothingIsRemovedFromADirectoryThatWasTaken(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	s.snapshot(s.repository, 2, good)
	older := s.snapshot(s.repository, 3, good)
	s.snapshot(s.repository, 1, v1alpha1.SnapshotFailed, func(failed *v1alpha1.Snapshot) { failed.Name = "failed" })
	failed := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "failed"}}
	bed.EditStatus(t, failed, func() {
		failed.Status.Components["pvc"] = v1alpha1.Component{
			Phase: v1alpha1.SnapshotFailed, Reason: v1alpha1.ReasonDirectoryTaken,
		}
		failed.Status.Size = "1 MiB" // the Repository looks again
	})
	proof := kubelet.Job(t, bed.Client, s.namespace, v1alpha1.LabelRepository)
	kubelet.Finish(t, bed.Client, proof, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonDirectoryTaken, Message: "taken",
	}), now.Now())
	bed.ExpectReason(t, s.repository, v1alpha1.PhaseNotReady, v1alpha1.ReasonDirectoryTaken, "taken")
	s.policy("c", last(1), "web")
	s.expectRetention(s.repository, v1alpha1.ReasonDirectoryTaken, "nothing is removed while the directory")
	bed.Quiet(t, s.namespace)
	expectKept(t, older)

	adopt := func(owner string, not ...client.Object) *batchv1.Job {
		bed.Edit(t, s.repository, func() {
			s.repository.Annotations = map[string]string{v1alpha1.AnnotationAdopt: owner}
		})
		return kubelet.Job(t, bed.Client, s.namespace, v1alpha1.LabelRepository, not...)
	}
	again := adopt("misspelt", proof)
	kubelet.Finish(t, bed.Client, again, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable, Message: "no route",
	}), now.Now())
	bed.ExpectReason(t, s.repository, v1alpha1.PhaseNotReady, v1alpha1.ReasonUnreachable, "no route")
	bed.Quiet(t, s.namespace)
	s.expectRetention(s.repository, v1alpha1.ReasonDirectoryTaken, "nothing is removed while the directory")
	expectKept(t, older)

	adopting := adopt("shop/web@drill", proof, again)
	kubelet.Finish(t, bed.Client, adopting, kubelet.Report(task.Result{Outcome: task.OutcomeSucceeded}), now.Now())
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "until a check has looked")
	bed.Quiet(t, s.namespace)
	expectKept(t, older)
	s.dueFor(task.MaintainFull)
	job, keep := s.job()
	g.Expect(keep.Keep[0].Check).To(HaveLen(2))
	s.found(job, 2)
	g.Eventually(func(g Gomega) {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(older), older)).To(Succeed())
		g.Expect(older.DeletionTimestamp).NotTo(BeNil())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "a check was done")
}

// A check looks at so many components at a time, and stops at so many damaged ones.
func TestACheckOfAPartOfTheNewPlaceIsNotEnough(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	older := s.moved()
	job, keep := s.job()
	g.Expect(keep.Keep[0].Check).To(HaveLen(2))
	s.found(job, 1)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionChecked)).
			To(ContainSubstring("has not looked at each Snapshot from before status.movedTime"))
	}, "a part was checked")
	bed.Quiet(t, s.namespace)
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "")
	expectKept(t, older)
}

// A Snapshot that no check can look at must not end all removals.
func TestTheHoldOfARepositoryThatMovedEnds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	older := s.moved()
	job, _ := s.job()
	s.checkFails(job, v1alpha1.ReasonDeadlineExceeded)
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "but at most until")
	expectKept(t, older)
	s.eightDaysAfterTheCheck(older)
}

// Whoever copies a bucket pauses the Repository meanwhile, for as long as it takes.
func TestTheHoldLastsWhileNoCheckCanRun(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	bed.Edit(t, s.repository, func() { s.repository.Spec.Paused = true })
	older := s.movedBefore(10)
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "none runs while Repository web is paused")
	bed.Edit(t, s.repository, func() { s.repository.Spec.Paused = false })
	job, keep := s.job()
	g.Expect(keep.Keep[0].Check).To(HaveLen(2))
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "movedTime, or until eight days after one was tried")
	bed.Quiet(t, s.namespace)
	expectKept(t, older)

	s.checkFails(job, v1alpha1.ReasonUnreachable)
	gone(t, job, "the Job is removed")
	bed.Quiet(t, s.namespace)
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "movedTime, or until eight days after one was tried")
	s.dueFor(task.MaintainFull)
	again, _ := s.job(job)
	s.found(again, 1) // a part
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "but at most until")
	bed.Quiet(t, s.namespace)
	expectKept(t, older)
	s.eightDaysAfterTheCheck(older)
}

// checkFails ends the keeper's Job: the maintenance was done, and the check failed.
func (s *shop) checkFails(job *batchv1.Job, reason string) {
	s.t.Helper()
	kubelet.Finish(s.t, bed.Client, job, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded,
		Components: []task.ComponentResult{{
			Name: "0", Outcome: task.OutcomeSucceeded, Steps: task.Steps{
				Maintenance: &task.Step{}, Check: &task.Step{Reason: reason, Error: "it failed"},
			},
		}},
	}), now.Now())
}

// eightDaysAfterTheCheck waits until the policy lets a Snapshot go, that long after a check was tried.
func (s *shop) eightDaysAfterTheCheck(older *v1alpha1.Snapshot) {
	s.t.Helper()
	bed.EditStatus(s.t, s.repository, func() {
		s.repository.Status.CheckTriedTime = &metav1.Time{Time: now.Now().AddDate(0, 0, -8)}
	})
	NewWithT(s.t).Eventually(func(g Gomega) {
		g.Expect(bed.Client.Get(s.t.Context(), client.ObjectKeyFromObject(older), older)).To(Succeed())
		g.Expect(older.DeletionTimestamp).NotTo(BeNil())
		g.Expect(events.Of(s.namespace)).To(ContainElement(ContainSubstring("NotChecked removals no longer wait")))
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "it was held for eight days")
}

// A day can make as many components as a check takes. What was made since the move is in the new place.
func TestWhatWasMadeAfterAMoveNeedsNoCheck(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	newer, older := s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good)
	bed.EditStatus(t, newer, func() { newer.Status.Components["more"] = v1alpha1.Component{Phase: good, ID: "more"} })
	bed.EditStatus(t, older, func() {
		older.Status.Integrity, older.Status.LastCheckTime = new(true), &metav1.Time{Time: now.Now()}
	})
	bed.EditStatus(t, s.repository, func() {
		s.repository.Status.LastBackupTime = &metav1.Time{Time: now.Now()}
		retention.Leave(s.repository, metav1.NewTime(now.Now().Add(-90*time.Minute)), retention.WhyMoved)
	})
	s.policy("c", last(1), "web")
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "")
	s.dueFor(task.MaintainFull)
	job, keep := s.job()
	g.Expect(keep.Keep[0].Check).To(HaveLen(3))
	s.found(job, 1) // a part of the newer one
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.IsTrue(s.repository, v1alpha1.ConditionChecked)).To(BeTrue())
		g.Expect(s.repository.Status.MovedTime).To(BeNil())
	}, "each earlier Snapshot is judged")
	g.Eventually(func(g Gomega) {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(older), older)).To(Succeed())
		g.Expect(older.DeletionTimestamp).NotTo(BeNil())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the policy lets it go")
}

// Restore points stay or go as a whole: what is unknown of one Repository counts for all.
func TestNothingOfABatchIsRemovedBeforeACheckInANewPlace(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	db := s.newRepository("db")
	batch := func(o *v1alpha1.Snapshot) { o.Labels[v1alpha1.LabelInvokerKind] = v1alpha1.BackupBatchKind }
	newest, older := s.snapshot(s.repository, 1, good, batch), s.snapshot(s.repository, 2, good, batch)
	s.snapshot(db, 1, good, batch)
	s.snapshot(db, 2, good, batch)
	bed.EditStatus(t, db, func() {
		db.Status.LastBackupTime = &metav1.Time{Time: now.Now()}
		retention.Leave(db, metav1.NewTime(now.Now().AddDate(0, 0, -10)), retention.WhyMoved)
	})
	bed.Cached(t, db)
	bed.Create(t, &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "keep"}, Spec: last(1),
	})
	s.batch("web", "db")
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "of Repository db")
	bed.Quiet(t, s.namespace)
	expectKept(t, older)

	bed.EditStatus(t, db, func() {
		conditions.MarkTrue(db, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked, "done")
	})
	bed.Cached(t, db)
	bed.EditStatus(t, newest, func() { newest.Status.Integrity = new(true) }) // it looks again
	g.Eventually(func(g Gomega) {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(older), older)).To(Succeed())
		g.Expect(older.DeletionTimestamp).NotTo(BeNil())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "a check was done")
}

// snapshotLists is a cache that notes whose Snapshots are listed, and whether they are copied.
type snapshotLists struct {
	client.Client
	of, copied []string
}

func (c *snapshotLists) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(opts)
	if _, ok := list.(*v1alpha1.SnapshotList); ok {
		repository, _ := o.FieldSelector.RequiresExactMatch("retention.snapshots")
		if c.of = append(c.of, repository); o.UnsafeDisableDeepCopy == nil || !*o.UnsafeDisableDeepCopy {
			c.copied = append(c.copied, repository)
		}
	}
	return c.Client.List(ctx, list, opts...)
}

// A batch can have hundreds of Repositories, each with hundreds of Snapshots. While one of them is held, each of the
// others looks again every ten minutes.
func TestAHeldRepositoryReadsNoSnapshotsOfItsSiblings(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	db := s.newRepository("db")
	batch := func(o *v1alpha1.Snapshot) { o.Labels[v1alpha1.LabelInvokerKind] = v1alpha1.BackupBatchKind }
	s.snapshot(s.repository, 1, good, batch)
	s.snapshot(db, 1, good, batch)
	bed.EditStatus(t, db, func() {
		db.Status.LastBackupTime = &metav1.Time{Time: now.Now()}
		retention.Leave(db, metav1.NewTime(now.Now()), retention.WhyMoved)
	})
	bed.Cached(t, db)
	bed.Create(t, &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "keep"}, Spec: last(1),
	})
	s.batch("web", "db")
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "of Repository db")
	bed.Quiet(t, s.namespace)

	look := func() *snapshotLists {
		lists, r := &snapshotLists{Client: bed.Manager.GetClient()}, staleRetention()
		r.Client = lists
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s.repository)})
		g.Expect(err).NotTo(HaveOccurred())
		return lists
	}
	g.Expect(look().of).To(ConsistOf("web"))
	bed.EditStatus(t, db, func() {
		conditions.MarkTrue(db, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked, "done")
	})
	bed.Cached(t, db)
	lists := look()
	g.Expect(lists.of).To(ConsistOf("web", "db"), "what goes depends on both")
	g.Expect(lists.copied).To(ConsistOf("web"))
}

// A keeper that began before the BackupStorage was edited has looked at the old place.
func TestACheckOfTheOldPlaceSaysNothing(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	one := s.snapshot(s.repository, 1, good)
	s.dueFor(task.MaintainFull)
	job, keep := s.job()
	g.Expect(keep.Keep[0].Check).To(HaveLen(1))
	bed.EditStatus(t, s.repository, func() { s.repository.Status.InitializedSpec = "the new place" })
	s.found(job, 1)
	gone(t, job, "the Job is removed")
	integrity(t, one, "nil")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.repository), s.repository)).To(Succeed())
	g.Expect(conditions.Has(s.repository, v1alpha1.ConditionChecked)).To(BeFalse())
	g.Expect(shown(s.repository.Status.Integrity)).To(Equal("nil"))
}

// A directory that was gone can come back in part, its index last: maintenance would remove what no index names.
func TestARepositoryThatCameBackIsCheckedBeforeItIsMaintained(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	snapshots := []*v1alpha1.Snapshot{s.snapshot(s.repository, 2, good), s.snapshot(s.repository, 3, good)}
	bed.EditStatus(t, s.repository, func() {
		s.repository.Status.LastBackupTime = &metav1.Time{Time: now.Now()}
		retention.Leave(s.repository, metav1.NewTime(now.Now()), retention.WhyCameBack)
	})
	checks := func(not ...client.Object) *batchv1.Job {
		job, keep := s.job(not...)
		g.Expect(keep.Keep[0].Maintain).To(BeEmpty())
		g.Expect(keep.Keep[0].Check).To(HaveLen(2))
		return job
	}
	first := checks()
	s.did(first, v1alpha1.ReasonUnreachable)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonUnreachable))
	}, "the keeper failed before it checked")
	s.again(first)
	second := checks(first)
	s.found(second, 2, 1)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionMaintained)).
			To(Equal(v1alpha1.ReasonRepositoryDamaged))
		g.Expect(s.repository.Status.MovedTime).NotTo(BeNil())
	}, "a part is missing")
	bed.Quiet(t, s.namespace)
	s.again(first)
	bed.Quiet(t, s.namespace)
	s.noJob("a look a day is enough")
	for _, snapshot := range snapshots { // a day later
		bed.EditStatus(t, snapshot, func() {
			snapshot.Status.LastCheckTime = &metav1.Time{Time: now.Now().Add(-24 * time.Hour)}
		})
		bed.Cached(t, snapshot)
	}
	s.again(first)
	bed.EditStatus(t, s.repository, func() { // wakes the keeper also if again has changed nothing
		s.repository.Status.LastBackupTime = &metav1.Time{Time: now.Now().Add(-time.Hour)}
	})
	third := checks(first, second)
	s.found(third, 2)
	job, keep := s.job(first, second, third)
	g.Expect(keep.Keep[0].Maintain).To(Equal(task.MaintainFull), "all is there")
	s.found(job, 2)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.IsTrue(s.repository, v1alpha1.ConditionMaintained)).To(BeTrue())
		g.Expect(s.repository.Status.MovedTime).To(BeNil())
		g.Expect(s.repository.Status.Integrity).To(HaveValue(BeTrue()))
	}, "it is maintained again")
}
