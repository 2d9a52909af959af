package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// A run ends in the same way, with the same Jobs and Snapshots, if the manager is killed at any of its writes.
func TestKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	// One pod of the StatefulSet loses its first mover, so that the test covers the repetition; one volume is empty.
	outcome := func() func(*batchv1.Job) kubelet.Outcome {
		lost := map[string]bool{}
		return func(job *batchv1.Job) kubelet.Outcome {
			switch component := kubelet.TaskOf(job).Components[0].Name; {
			case component == "pod-0" && !lost[component]:
				lost[component] = true
				return kubelet.Outcome{}
			case component == "pvc":
				return kubelet.Fail(v1alpha1.ReasonEmpty)
			default:
				return kubelet.Succeed(job)
			}
		}
	}
	type end struct {
		summary, jobs, snapshots []string
		phases                   []string
	}
	ended := func(w *world) end {
		s := w.settle("run")
		var e end
		e.summary = summary(s)
		e.jobs = names(w.Jobs(), func(j *batchv1.Job) string { return j.Name })
		e.snapshots = names(w.snapshots(), func(s *v1alpha1.Snapshot) string { return s.Name })
		e.phases = names(w.snapshots(),
			func(s *v1alpha1.Snapshot) string { return s.Name + "=" + string(s.Status.Phase) })
		return e
	}
	start := func(t *testing.T, killer *sessiontest.Killer) *world {
		w := newWorld(t)
		w.batch()
		w.Outcome, w.Killer = outcome(), killer
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		return w
	}

	undisturbed := &sessiontest.Killer{}
	want := ended(start(t, undisturbed))
	g := NewWithT(t)
	g.Expect(want.summary).
		To(Equal([]string{
			"Failed/TargetsFailed", "web: Succeeded/Succeeded", "uploads: Failed/Empty",
			"db: Succeeded/Succeeded",
		}))
	g.Expect(want.jobs).To(HaveLen(5), "four movers and one repetition")
	writes := undisturbed.Count()
	g.Expect(writes).To(BeNumerically(">", 20))
	for name, killer := range sessiontest.KillPoints(writes) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, killer)
			got := ended(w)
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(got).To(Equal(want))
		})
	}
}

// The same holds for a run that is deleted while it works.
func TestKilledWhileCancelling(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *world {
		w := newWorld(t)
		w.batch()
		w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Reconcile("run")
		w.Cluster()
		w.Expect(w.Client.Delete(t.Context(), w.session("run"))).To(Succeed())
		return w
	}
	w := start(t)
	w.Killer = &sessiontest.Killer{}
	undisturbed := w.Killer
	want := summary(w.settle("run"))
	w.Expect(want[0]).To(Equal("Failed/Cancelled"))
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			w.Killer = killer
			w.Expect(summary(w.settle("run"))).To(Equal(want))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(w.Jobs()).To(BeEmpty())
		})
	}
}
