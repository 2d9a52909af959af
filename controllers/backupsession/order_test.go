package backupsession

import (
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func sequential(b *v1alpha1.BackupBatch) {
	b.Spec.Sessions[0].ExecutionOrder = v1alpha1.ExecutionSequential
}

// without removes a target from a batch.
func without(name string) func(*v1alpha1.BackupBatch) {
	return func(b *v1alpha1.BackupBatch) {
		b.Spec.Targets = slices.DeleteFunc(b.Spec.Targets, func(t v1alpha1.BatchTarget) bool { return t.Name == name })
		s := &b.Spec.Sessions[0]
		s.Targets = slices.DeleteFunc(s.Targets, func(t v1alpha1.BatchSessionTarget) bool { return t.Name == name })
	}
}

func targetHook(name string) v1alpha1.TargetHook {
	return v1alpha1.TargetHook{Name: name, HookTemplate: &v1alpha1.ObjectReference{Name: name}}
}

// hooksOn gives a target of a batch the hooks freeze-<name> and thaw-<name>, which report to l what they see.
func (w *world) hooksOn(l *sessiontest.Listener, name string) func(*v1alpha1.BackupBatch) {
	w.T.Helper()
	sessiontest.Create(w.T, w.Client, l.Template(w.Namespace, "freeze-"+name, freezeBody),
		l.Template(w.Namespace, "thaw-"+name, thawBody))
	return func(b *v1alpha1.BackupBatch) {
		for i := range b.Spec.Sessions[0].Targets {
			if t := &b.Spec.Sessions[0].Targets[i]; t.Name == name {
				t.Hooks = &v1alpha1.TargetHooks{
					PreBackup:  []v1alpha1.TargetHook{targetHook("freeze-" + name)},
					PostBackup: []v1alpha1.TargetHook{targetHook("thaw-" + name)},
				}
			}
		}
	}
}

// hooksAround gives the session of a batch the hooks pre and post.
func (w *world) hooksAround(l *sessiontest.Listener) func(*v1alpha1.BackupBatch) {
	w.T.Helper()
	sessiontest.Create(w.T, w.Client, l.Template(w.Namespace, "pre", "{{.Status.Phase}}"),
		l.Template(w.Namespace, "post", "{{.Status.Phase}}"))
	return func(b *v1alpha1.BackupBatch) {
		b.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{
			PreBackup:  []v1alpha1.HookInfo{sessiontest.UseTemplate("pre")},
			PostBackup: []v1alpha1.HookInfo{sessiontest.UseTemplate("post")},
		}
	}
}

// heardOnce returns what l heard, without immediate repetitions: a killed manager repeats an attempt.
func heardOnce(l *sessiontest.Listener) []string { return slices.Compact(l.Heard()) }

// note reports each mover to l, and makes the movers of uploads fail.
func (w *world) note(l *sessiontest.Listener) {
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		component := kubelet.TaskOf(job).Components[0].Name
		l.Note("backup " + component)
		if component == "pvc" {
			return kubelet.Fail(v1alpha1.ReasonEmpty)
		}
		return kubelet.Succeed(job)
	}
}

// Targets run one after the other, each frozen and thawed, with hooks around all of them. Wherever the manager is
// killed, nothing is backed up unfrozen, nothing stays frozen, and nothing is backed up twice.
func TestKilledAtAnyWriteOfASequentialBatch(t *testing.T) {
	t.Parallel()
	type end struct{ summary, jobs, snapshots, heard []string }
	start := func(t *testing.T, killer *sessiontest.Killer) (*world, *sessiontest.Listener) {
		w := newWorld(t)
		l := sessiontest.Listen(t)
		w.batch(sequential, without("db"), w.hooksAround(l), w.hooksOn(l, "web"), w.hooksOn(l, "uploads"))
		w.note(l)
		w.Killer = killer
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		return w, l
	}
	ended := func(w *world, l *sessiontest.Listener) end {
		return end{
			summary: summary(w.drive("run")), jobs: names(w.Jobs(), func(j *batchv1.Job) string { return j.Name }),
			snapshots: names(w.snapshots(),
				func(s *v1alpha1.Snapshot) string { return s.Name + "=" + string(s.Status.Phase) }),
			heard: heardOnce(l),
		}
	}
	undisturbed := &sessiontest.Killer{}
	w, l := start(t, undisturbed)
	want := ended(w, l)
	w.Expect(want.summary).
		To(Equal([]string{"Failed/TargetsFailed", "web: Succeeded/Succeeded", "uploads: Failed/Empty"}))
	w.Expect(want.heard).To(Equal([]string{
		"pre Running", "freeze-web web Running", "backup data", "thaw-web web Succeeded",
		"freeze-uploads uploads Running", "backup pvc", "thaw-uploads uploads Failed", "post Failed",
	}))
	w.Expect(want.jobs).To(HaveLen(2))
	s := w.session("run")
	w.Expect(s.Status.Conditions).
		To(ContainElement(And(HaveField("Type", v1alpha1.ConditionPartial), HaveField("Status", metav1.ConditionTrue))))
	for _, t := range s.Status.Targets {
		w.Expect(t.StartTime).NotTo(BeNil())
		w.Expect(t.CompletionTime).NotTo(BeNil())
		w.Expect(t.Hooks.PreHooks).To(HaveLen(1))
		w.Expect(t.Hooks.PostHooks).To(ConsistOf(HaveField("Phase", v1alpha1.HookSucceeded)))
	}
	w.Expect(s.Status.Targets[1].StartTime.Before(s.Status.Targets[0].CompletionTime)).To(BeFalse())
	writes := undisturbed.Count()
	w.Expect(writes).To(BeNumerically(">", 20))
	for name, killer := range sessiontest.KillPoints(writes) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := start(t, killer)
			got := ended(w, l)
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(got).To(Equal(want))
		})
	}
}

func TestTheDeadlineOfATargetIsItsJobsToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch(sequential, without("db"), func(b *v1alpha1.BackupBatch) {
		b.Spec.Sessions[0].Targets[0].BackupTimeout = &metav1.Duration{Duration: 10 * time.Minute}
	})
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		return kubelet.Outcome{
			Hang:   kubelet.TaskOf(job).Components[0].Name != "pvc",
			Result: kubelet.Succeed(job).Result,
		}
	}
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	for range 3 {
		w.Reconcile("run")
		w.Cluster()
	}
	w.Expect(w.Jobs()).
		To(ConsistOf(HaveField("Spec.ActiveDeadlineSeconds",
			HaveValue(And(BeNumerically(">=", 600), BeNumerically("<=", 611))))))
	w.Expect(summary(w.session("run"))).
		To(Equal([]string{"Running/Running", "web: Running/Running", "uploads: Pending/Pending"}))
	w.Clock.SetTime(w.Clock.Now().Add(10 * time.Minute))
	s := w.settle("run")
	w.Expect(summary(s)).
		To(Equal([]string{"Failed/TargetsFailed", "web: Failed/DeadlineExceeded", "uploads: Succeeded/Succeeded"}))
	w.Expect(s.Status.Targets[0].Message).To(ContainSubstring("the deadline of the target passed"))
	w.Expect(w.Jobs()).To(HaveLen(1), "the Job that took too long is gone")
}

// A failing hook of one target fails that target alone. A retry runs the hooks of that target alone, with the hooks of
// the session around them.
func TestARetryRunsTheHooksOfWhatItTriesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	l.Answer = sessiontest.Refuse("/freeze-web", 503)
	w.batch(retryDelay(0), without("db"), w.hooksAround(l), w.hooksOn(l, "web"), w.hooksOn(l, "uploads"))
	w.run(v1alpha1.BackupBatchKind, "shop", "run", retries(1))
	first := w.drive("run")
	w.Expect(summary(first)).
		To(Equal([]string{
			"Failed/TargetsFailed", "web: Failed/FailedToExecutePreBackupHooks",
			"uploads: Succeeded/Succeeded",
		}))
	w.Expect(l.Heard()).
		To(And(HaveLen(6), ContainElements("freeze-web web Running", "thaw-web web Failed",
			"thaw-uploads uploads Succeeded")))
	w.Expect(l.Heard()[5]).To(Equal("post Failed"))

	l.Answer = nil
	before := len(l.Heard())
	w.Reconcile("run")
	second := w.drive("run-r1")
	w.Expect(summary(second)).To(Equal([]string{"Succeeded/Succeeded", "web: Succeeded/Succeeded"}))
	w.Expect(l.Heard()[before:]).
		To(Equal([]string{"pre Running", "freeze-web web Running", "thaw-web web Succeeded", "post Succeeded"}))
}

// Runs that freeze the same target follow each other, also if only the target has the hooks.
func TestHooksOfATargetKeepOtherRunsWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	b := w.batch(without("db"), w.hooksOn(l, "web"))
	w.Outcome = hang
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Eventually(func() []string {
		w.Reconcile("run")
		w.Cluster()
		return names(w.Jobs(), func(j *batchv1.Job) string { return j.Name })
	}).WithTimeout(testbed.Patience).Should(HaveLen(2), "both movers work")
	w.run(v1alpha1.BackupConfigurationKind, policy.ChildName(b.Name, "web"), "alone")
	w.Reconcile("alone")
	w.Expect(summary(w.session("alone"))).To(Equal([]string{"Pending/HooksInProgress"}))
	w.run(v1alpha1.BackupConfigurationKind, policy.ChildName(b.Name, "uploads"), "beside")
	w.Reconcile("beside")
	w.Expect(summary(w.session("beside"))[0]).To(Equal("Running/Running"), "no hook freezes this target")

	w.Outcome = kubelet.Succeed
	w.drive("run")
	w.drive("alone")
	w.Expect(strings.Join(heardOnce(l), ", ")).To(Equal(
		"freeze-web web Running, thaw-web web Succeeded, freeze-web web Running, thaw-web web Succeeded"),
		"a run of the target alone has its hooks, too")
}

// A run of several targets is deleted while one target is thawed, one works and one waits. Wherever the manager is
// killed, each frozen target is thawed at most once more, and nothing works afterwards.
func TestKilledWhileCancellingASequentialBatch(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*world, *sessiontest.Listener) {
		w := newWorld(t)
		l := sessiontest.Listen(t)
		w.batch(sequential, w.hooksAround(l), w.hooksOn(l, "web"), w.hooksOn(l, "uploads"), w.hooksOn(l, "db"))
		w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
			return kubelet.Outcome{
				Hang:   kubelet.TaskOf(job).Components[0].Name == "pvc",
				Result: kubelet.Succeed(job).Result,
			}
		}
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Eventually(func() int {
			w.Reconcile("run")
			w.Cluster()
			return len(w.Jobs())
		}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).
			Should(Equal(2), "the second target is at work")
		w.Expect(w.Client.Delete(t.Context(), w.session("run"))).To(Succeed())
		return w, l
	}
	type end struct{ summary, heard []string }
	ended := func(w *world, l *sessiontest.Listener) end { return end{summary(w.drive("run")), heardOnce(l)} }
	w, l := start(t)
	undisturbed := &sessiontest.Killer{}
	w.Killer = undisturbed
	want := ended(w, l)
	w.Expect(want.summary).
		To(Equal([]string{
			"Failed/Cancelled", "web: Succeeded/Succeeded", "uploads: Failed/Cancelled",
			"db: Failed/Cancelled",
		}))
	w.Expect(want.heard).To(Equal([]string{
		"pre Running", "freeze-web web Running", "thaw-web web Succeeded", "freeze-uploads uploads Running",
		"thaw-uploads uploads Failed", "post Failed",
	}))
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := start(t)
			w.Killer = killer
			w.Expect(ended(w, l)).To(Equal(want))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(w.Jobs()).To(BeEmpty())
		})
	}
}
