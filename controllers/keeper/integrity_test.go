package keeper_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// integrity waits until a Snapshot's integrity is "true", "false" or "nil".
func integrity(t *testing.T, s *v1alpha1.Snapshot, want string) {
	t.Helper()
	bed.Eventually(t, s, func(g Gomega) { g.Expect(shown(s.Status.Integrity)).To(Equal(want)) }, s.Name+" is "+want)
}

func shown(b *bool) string {
	if b == nil {
		return "nil"
	}
	return fmt.Sprint(*b)
}

func TestAFullMaintenanceChecksTheSnapshots(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	earlier := metav1.NewTime(now.Now().Add(-time.Hour))
	two := s.snapshot(s.repository, 2, good)
	bed.EditStatus(t, two, func() {
		two.Status.Components["logs"] = v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "id-logs"}
	})
	old := s.snapshot(s.repository, 9, good)
	bed.EditStatus(t, old, func() { old.Status.LastCheckTime = &earlier })
	one := s.snapshot(s.repository, 1, good)
	failed := s.snapshot(s.repository, 3, v1alpha1.SnapshotFailed)
	s.dueFor(task.MaintainFull)
	job, keep := s.job()
	var asked []string
	for _, c := range keep.Keep[0].Check {
		asked = append(asked, c.Snapshot+"/"+c.Component+"/"+c.ID)
	}
	g.Expect(asked).To(Equal([]string{
		one.Name + "/pvc/id-" + one.Name, two.Name + "/logs/id-logs", two.Name + "/pvc/id-" + two.Name,
		old.Name + "/pvc/id-" + old.Name,
	}), "Snapshots that were never checked come first")

	s.found(job, 3, 2)
	integrity(t, two, "false")
	g.Expect(shown(two.Status.Components["logs"].Integrity)).To(Equal("true"), "one component is intact")
	g.Expect(shown(two.Status.Components["pvc"].Integrity)).To(Equal("false"))
	g.Expect(two.Status.LastCheckTime.Time).To(BeTemporally("~", now.Now(), time.Second))
	g.Expect(two.Status.LastUpdateTime).To(Equal(two.Status.LastCheckTime))
	expectEvent(t, s.namespace,
		"data that this Snapshot needs is damaged or missing in the repository: bring it back, or make another backup")
	integrity(t, one, "true")
	integrity(t, old, "nil")
	g.Expect(old.Status.LastCheckTime.Time).To(BeTemporally("~", earlier.Time, time.Second),
		"the result does not mention it")
	integrity(t, failed, "nil")
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(shown(s.repository.Status.Integrity)).To(Equal("false"))
		g.Expect(s.repository.Status.LastMaintenance.Full.Time).To(BeTemporally("~", now.Now(), time.Second))
	}, "a repository with a damaged Snapshot is not intact")
	gone(t, job, "the Job is removed")
	s.noJob("the next check is due in a day")

	// A day later, the data that was brought back is intact again.
	day := metav1.NewTime(now.Now().Add(-25 * time.Hour))
	bed.EditStatus(t, s.repository, func() {
		s.repository.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: &day, Full: &day}
	})
	job, keep = s.job(job)
	g.Expect(keep.Keep[0].Maintain).To(Equal(task.MaintainFull), "a damaged repository is checked daily")
	g.Expect(keep.Keep[0].Check[0].Snapshot).To(Equal(old.Name), "its last check is the oldest")
	s.found(job, 4)
	integrity(t, two, "true")
	integrity(t, old, "true")
	bed.Eventually(t, s.repository, func(g Gomega) { g.Expect(shown(s.repository.Status.Integrity)).To(Equal("true")) },
		"all Snapshots are intact")
}

// slowCheck returns the result of a check that took too long, and ends a Job with a result.
func slowCheck(t *testing.T) (task.ComponentResult, func(*batchv1.Job, task.ComponentResult, time.Time)) {
	slow := task.ComponentResult{
		Name: "0", Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonDeadlineExceeded, Error: "too long",
	}
	slow.Maintenance, slow.Check = &task.Step{}, &task.Step{Reason: slow.Reason, Error: slow.Error}
	return slow, func(job *batchv1.Job, r task.ComponentResult, ended time.Time) {
		kubelet.Finish(t, bed.Client, job, kubelet.Report(task.Result{
			Outcome: r.Outcome, Reason: r.Reason, Message: r.Error, Components: []task.ComponentResult{r},
		}), ended)
	}
}

// What takes too long alone says so, and the next check looks at others.
func TestASlowSnapshotSaysThatItIsNotChecked(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	one := s.snapshot(s.repository, 1, good)
	slow, end := slowCheck(t)
	s.dueFor(task.MaintainFull)
	job, keep := s.job()
	g.Expect(keep.Keep[0].Check).To(HaveLen(1))
	two := s.snapshot(s.repository, 2, good)
	end(job, slow, now.Now().Add(-25*time.Hour))
	bed.Eventually(t, one, func(g Gomega) {
		g.Expect(conditions.GetReason(one, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonDeadlineExceeded))
	}, "it is not checked")
	_, keep = s.job(job)
	g.Expect(keep.Keep[0].Check).To(HaveExactElements(HaveField("Snapshot", two.Name)))
}

// A check of one component for which its keeper has not enough time was tried, and the next one looks at others. That
// keeper can have as much else to do each time.
func TestALateCheckIsLeftToOthers(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	one := s.snapshot(s.repository, 1, good)
	late, end := slowCheck(t)
	late.Reason, late.Check = v1alpha1.ReasonCancelled, &task.Step{
		Reason: v1alpha1.ReasonCancelled, Error: "no time", Late: true,
	}
	s.dueFor(task.MaintainFull)
	job, keep := s.job()
	g.Expect(keep.Keep[0].Check).To(HaveLen(1))
	two := s.snapshot(s.repository, 2, good)
	moved := metav1.NewTime(now.Now().Add(-26 * time.Hour))
	bed.EditStatus(t, s.repository, func() { retention.Leave(s.repository, moved, retention.WhyMoved) })
	end(job, late, now.Now().Add(-25*time.Hour))
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonCancelled))
		g.Expect(s.repository.Status.CheckTriedTime).NotTo(BeNil())
	}, "the hold ends eight days later")
	bed.Eventually(t, one, func(g Gomega) {
		g.Expect(conditions.GetReason(one, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonCancelled))
	}, "it is not checked")
	_, keep = s.job(job)
	g.Expect(keep.Keep[0].Check).To(HaveExactElements(HaveField("Snapshot", two.Name)))
}

// A check that takes too long says nothing of any Snapshot. So the next ones have fewer, until one has time.
func TestASlowCheckIsHalvedUntilItHasTime(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	for hours := range 4 {
		s.snapshot(s.repository, hours+1, good)
	}
	slow, end := slowCheck(t)
	s.dueFor(task.MaintainFull)
	job, keep := s.job()
	for _, want := range []int{4, 2, 1} {
		g.Expect(keep.Keep[0].Check).To(HaveLen(want))
		if want == 1 {
			break
		}
		end(job, slow, now.Now().Add(-25*time.Hour)) // the next one is due
		bed.Eventually(t, s.repository, func(g Gomega) {
			g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionChecked)).To(Equal(slow.Reason))
			g.Expect(shown(s.repository.Status.Integrity)).To(Equal("nil"))
		}, "nothing is known")
		job, keep = s.job(job)
	}
	checked := keep.Keep[0].Check[0].Snapshot
	end(job, task.ComponentResult{Name: "0", Outcome: task.OutcomeSucceeded, Verified: 1}, now.Now())
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.IsTrue(s.repository, v1alpha1.ConditionChecked)).To(BeTrue())
		g.Expect(shown(s.repository.Status.Integrity)).To(Equal("nil"), "three were never checked")
	}, "one Snapshot was checked")
	gone(t, job, "the Job is removed")
	week := metav1.NewTime(now.Now().Add(-8 * 24 * time.Hour))
	bed.EditStatus(t, s.repository, func() {
		s.repository.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: &week, Full: &week}
	})
	_, keep = s.job(job)
	g.Expect(keep.Keep[0].Check).To(HaveLen(2), "the next one can have more")
	g.Expect(keep.Keep[0].Check[0].Snapshot).NotTo(Equal(checked))
}

func TestNothingIsSaidThatWasNotChecked(t *testing.T) {
	t.Parallel()
	t.Run("a check that took too long", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		one := s.snapshot(s.repository, 1, good)
		s.dueFor(task.MaintainFull)
		job, keep := s.job()
		NewWithT(t).Expect(keep.Keep[0].Check).To(HaveLen(1))
		s.found(job, 0)
		bed.Eventually(t, s.repository, func(g Gomega) {
			g.Expect(s.repository.Status.LastMaintenance.Full.Time).To(BeTemporally("~", now.Now(), time.Second))
			g.Expect(shown(s.repository.Status.Integrity)).To(Equal("nil"))
		}, "the Repository was maintained")
		gone(t, job, "the Job is removed")
		integrity(t, one, "nil")
	})
	t.Run("a part of the Snapshots", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		one, two := s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good)
		s.dueFor(task.MaintainFull)
		job, _ := s.job()
		s.found(job, 1)
		integrity(t, one, "true")
		gone(t, job, "the Job is removed")
		integrity(t, two, "nil")
		bed.Eventually(t, s.repository,
			func(g Gomega) { g.Expect(shown(s.repository.Status.Integrity)).To(Equal("nil")) },
			"one Snapshot was never checked")
	})
	t.Run("a maintenance that reads no Snapshots", func(t *testing.T) {
		t.Parallel()
		g, s := NewWithT(t), newShop(t)
		one := s.snapshot(s.repository, 1, good)
		s.dueFor(task.MaintainQuick)
		job, keep := s.job()
		g.Expect(keep.Keep[0].Check).To(BeEmpty())
		s.did(job, "")
		gone(t, job, "the Job is removed")
		integrity(t, one, "nil")
		bed.Eventually(t, s.repository,
			func(g Gomega) { g.Expect(shown(s.repository.Status.Integrity)).To(Equal("nil")) },
			"no result is known")
	})
	t.Run("a Snapshot that was made anew", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		one := s.snapshot(s.repository, 1, good)
		s.dueFor(task.MaintainFull)
		job, keep := s.job()
		NewWithT(t).Expect(keep.Keep[0].Check).To(HaveLen(1))
		bed.EditStatus(t, one, func() {
			one.Status.Components["pvc"] = v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "other"}
		})
		s.found(job, 1, 0)
		gone(t, job, "the Job is removed")
		integrity(t, one, "nil")
	})
}

// Somebody has emptied the bucket. An outage says nothing about the data.
func TestARepositoryThatIsGoneIsNotIntact(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		v1alpha1.ReasonRepositoryNotFound: "false", v1alpha1.ReasonRepositoryDamaged: "false",
		v1alpha1.ReasonUnreachable: "true",
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.snapshot(s.repository, 1, good)
			bed.EditStatus(t, s.repository, func() { s.repository.Status.Integrity = new(true) })
			s.dueFor(task.MaintainQuick)
			job, _ := s.job()
			s.did(job, reason)
			bed.Eventually(t, s.repository, func(g Gomega) {
				g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionMaintained)).To(Equal(reason))
				g.Expect(shown(s.repository.Status.Integrity)).To(Equal(want))
			}, reason)
		})
	}
}
