package backup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

var sequential = backup.Start{Timeout: time.Hour, ExecutionOrder: v1alpha1.ExecutionSequential}

// within gives a target its own timeout.
func within(d time.Duration, t v1alpha1.ResolvedTarget) v1alpha1.ResolvedTarget {
	t.Timeout = &metav1.Duration{Duration: d}
	return t
}

// standing returns the state of the targets of a run, as "<name>=<phase>/<reason>".
func standing(s *v1alpha1.BackupSession) []string {
	var out []string
	for _, t := range s.Status.Targets {
		out = append(out, t.Name+"="+string(t.Phase)+"/"+t.Reason)
	}
	return out
}

// creates returns the targets whose Jobs a decision makes.
func creates(d backup.Decision) []string {
	var out []string
	for _, m := range d.Create {
		out = append(out, m.Target.Name)
	}
	return out
}

func TestSequentialTargetsFollowEachOther(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozenAs(sequential, runtest.Target("a", "pod-0"), broken("b", v1alpha1.ReasonTargetNotFound),
		runtest.Target("c", "pod-0"), runtest.Target("d", "pod-0")))
	h.mover = func(backup.Mover) run.Job { return runtest.Running() }
	g.Expect(standing(h.session)).To(Equal([]string{
		"a=Running/Running", "b=Failed/TargetNotFound", "c=Pending/Pending", "d=Pending/Pending",
	}))
	g.Expect(creates(h.look())).To(Equal([]string{"a"}))
	g.Expect(backup.MayBackUp(h.session, "c", h.at)).To(BeFalse(), "its turn has not come")
	h.look()
	g.Expect(h.session.Status.Targets[2].StartTime).To(BeNil())

	h.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonUnreadable)
	d := h.look()
	g.Expect(standing(h.session)).To(Equal([]string{
		"a=Failed/Unreadable", "b=Failed/TargetNotFound",
		"c=Running/Running", "d=Pending/Pending",
	}), "the next begins although one failed")
	g.Expect(d.Create).To(BeEmpty(), "the start must be written to the status first")
	g.Expect(d.Event).To(HaveValue(And(HaveField("Reason", v1alpha1.ReasonTargetsFailed),
		HaveField("Message", "a: component pod-0: it says"))),
		"the failure is reported before the other targets end")
	g.Expect(d.After).To(Equal(time.Second))
	a := h.session.Status.Targets[0]
	g.Expect(a.StartTime.Time).To(Equal(runtest.Now))
	g.Expect(a.CompletionTime.Time).To(Equal(h.at))
	g.Expect(a.Duration).To(Equal("1m0s"))

	h.at = h.at.Add(time.Minute)
	d = h.look()
	g.Expect(creates(d)).To(Equal([]string{"c"}))
	g.Expect(d.Event).To(BeNil(), "the failure is reported once")
	h.jobs[runtest.Job("c", "pod-0", 1)] = runtest.Succeeded("pod-0")
	h.look()
	g.Expect(creates(h.look())).To(Equal([]string{"d"}))
	h.jobs[runtest.Job("d", "pod-0", 1)] = runtest.Succeeded("pod-0")
	h.look()
	s := h.session
	g.Expect(s.Status.Phase).To(Equal(backupFailed))
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonTargetsFailed))
	g.Expect(conditions.GetMessage(s, "Ready")).To(Equal("a: component pod-0: it says; b: because"))
	g.Expect(conditions.IsTrue(s, v1alpha1.ConditionPartial)).To(BeTrue())
	g.Expect(s.Status.Snapshots).To(HaveLen(3))
}

func TestMaxParallelBoundsTheTargetsAtWork(t *testing.T) {
	g := NewWithT(t)
	start := backup.Start{Timeout: time.Hour, MaxParallel: new(int32(2))}
	h := attempting(frozenAs(start, runtest.Target("a", "pod-0"), runtest.Target("b", "pod-0"),
		runtest.Target("c", "pod-0"),
		runtest.Target("d", "pod-0"), runtest.Target("e", "pod-0")))
	var order []string
	h.mover = func(m backup.Mover) run.Job {
		order = append(order, m.Target.Name)
		return runtest.Running()
	}
	for range 20 {
		h.look()
		work := 0
		for _, t := range h.session.Status.Targets {
			if t.Phase == backupRunning {
				work++
			}
		}
		g.Expect(work).To(BeNumerically("<=", 2))
		// The younger of two Jobs ends first.
		if open := slices.DeleteFunc(slices.Clone(order),
			func(name string) bool {
				return h.jobs[runtest.Job(name, "pod-0", 1)].Finished
			}); len(open) == 2 || len(order) == 5 && len(open) > 0 {
			h.jobs[runtest.Job(open[len(open)-1], "pod-0", 1)] = runtest.Succeeded("pod-0")
		}
	}
	g.Expect(order).To(Equal([]string{"a", "b", "c", "d", "e"}))
	g.Expect(h.session.Status.Phase).To(Equal(backupSucceeded))
}

func TestTheDeadlineOfATargetEndsThatTargetAlone(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozenAs(sequential, within(10*time.Minute, runtest.Target("a", "pod-0")),
		within(10*time.Minute, runtest.Target("b", "pod-0"))))
	h.mover = func(backup.Mover) run.Job { return runtest.Running() }
	h.look()
	g.Expect(backup.DeadlineOf(h.session, "a")).To(Equal(runtest.Now.Add(10 * time.Minute)))
	h.at = runtest.Now.Add(9 * time.Minute)
	g.Expect(h.look().After).To(Equal(time.Minute), "the run is looked at when the time is up")
	h.at = runtest.Now.Add(10 * time.Minute)
	d := h.look()
	g.Expect(d.Verify).To(BeTrue())
	g.Expect(d.Delete).To(Equal([]string{runtest.Job("a", "pod-0", 1)}))
	g.Expect(d.Movers["snap-a"]).To(BeEmpty(), "its mover is no longer allowed to write")
	g.Expect(standing(h.session)).To(Equal([]string{"a=Failed/DeadlineExceeded", "b=Running/Running"}))
	g.Expect(h.session.Status.Targets[0].Message).To(ContainSubstring("the deadline of the target passed"))
	g.Expect(backup.DeadlineOf(h.session, "b")).To(
		Equal(h.at.Add(10*time.Minute)), "its time counts from its own start")
	h.look()
	h.jobs[runtest.Job("b", "pod-0", 1)] = runtest.Succeeded("pod-0")
	h.look()
	g.Expect(standing(h.session)).To(Equal([]string{"a=Failed/DeadlineExceeded", "b=Succeeded/Succeeded"}))
	g.Expect(h.session.Status.Reason).To(Equal(v1alpha1.ReasonTargetsFailed))
}

func TestTheEndOfARunEndsItsTargets(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(*hasHooksOn)
		want string
		says string
	}{
		"its deadline passes": {
			func(h *hasHooksOn) { h.at = h.session.Status.BackupDeadline.Time }, "DeadlineExceeded",
			"the deadline of the run passed before it began",
		},
		"deleted": {
			func(h *hasHooksOn) { h.session.DeletionTimestamp = &metav1.Time{Time: h.at} }, "Cancelled",
			"the run was ended before it began",
		},
		"replaced": {func(h *hasHooksOn) {
			h.session.Annotations = map[string]string{
				v1alpha1.AnnotationReplacedBy: backup.FormatReplacedBy("later", h.at),
			}
		}, "Replaced", "the run was ended before it began"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			h := attempting(frozenAs(sequential, runtest.Target("a", "pod-0"),
				within(2*time.Hour, runtest.Target("b", "pod-0")),
				runtest.Target("c", "pod-0")))
			h.mover = func(m backup.Mover) run.Job {
				if m.Target.Name == "a" {
					return runtest.Succeeded("pod-0")
				}
				return runtest.Running()
			}
			for range 4 {
				h.look()
			}
			g.Expect(standing(h.session)).To(Equal([]string{
				"a=Succeeded/Succeeded", "b=Running/Running", "c=Pending/Pending",
			}))
			tt.end(h)
			h.settle(g)
			g.Expect(standing(h.session)).To(Equal([]string{
				"a=Succeeded/Succeeded", "b=Failed/" + tt.want, "c=Failed/" + tt.want,
			}))
			g.Expect(h.session.Status.Targets[2].Message).To(Equal(tt.says))
			g.Expect(h.session.Status.Targets[2].StartTime).To(BeNil())
			g.Expect(h.session.Status.Reason).To(Equal(tt.want))
			g.Expect(conditions.IsTrue(h.session, v1alpha1.ConditionPartial)).To(BeTrue())
			g.Expect(h.jobs).NotTo(HaveKey(runtest.Job("b", "pod-0", 1)))
		})
	}
}

// The outcome of a target does not change when somebody deletes its Snapshot while other targets are at work.
func TestATargetThatEndedStaysAsItIs(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozenAs(sequential, runtest.Target("a", "pod-0"), runtest.Target("b", "pod-0")))
	h.mover = func(m backup.Mover) run.Job {
		if m.Target.Name == "a" {
			return runtest.Succeeded("pod-0")
		}
		return runtest.Running()
	}
	for range 3 {
		h.look()
	}
	before := h.session.Status.Targets[0]
	g.Expect(before.Phase).To(Equal(backupSucceeded))
	delete(h.snapshots, "snap-a")
	delete(h.jobs, runtest.Job("a", "pod-0", 1))
	g.Expect(backup.MayBackUp(h.session, "a", h.at)).To(BeFalse())
	g.Expect(h.look().Create).To(BeEmpty())
	g.Expect(h.session.Status.Targets[0]).To(Equal(before))
	g.Expect(h.session.Status.Snapshots).To(
		ContainElement(And(HaveField("Name", "snap-a"), HaveField("Phase", v1alpha1.SnapshotSucceeded))))
}

// A target without a Repository has nothing to restore.
func TestATargetWithoutARepositoryIsNoSuccess(t *testing.T) {
	g := NewWithT(t)
	nowhere := runtest.Target("a", "pod-0")
	nowhere.Repositories = nil
	f := frozen(nowhere)
	f.step()
	g.Expect(standing(f.session)).To(Equal([]string{"a=Failed/InvalidTask"}))
}

// A run that another version of the manager began has no times for its targets.
func TestARunWithoutTimesOfItsTargetsGoesOn(t *testing.T) {
	g := NewWithT(t)
	f := frozen(within(time.Minute, runtest.Target("a", "pod-0")))
	f.session.Status.Targets[0].StartTime = nil
	g.Expect(f.step().Create).To(HaveLen(1))
	f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
	f.step()
	g.Expect(f.session.Status.Phase).To(Equal(backupSucceeded))
}
