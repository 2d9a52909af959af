package backup_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// around gives a target its own hooks.
func around(t v1alpha1.ResolvedTarget, pre, post []v1alpha1.ResolvedHook) v1alpha1.ResolvedTarget {
	t.AppRef = v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "StatefulSet", Name: t.Name}
	t.Hooks = &v1alpha1.ResolvedHooks{Pre: pre, Post: post}
	return t
}

// frozenAround returns a target with the hooks freeze-<name> and thaw-<name>.
func frozenAround(name string) v1alpha1.ResolvedTarget {
	return around(runtest.Target(name, "pod-0"), []v1alpha1.ResolvedHook{resolvedHook("freeze-" + name)},
		[]v1alpha1.ResolvedHook{resolvedHook("thaw-" + name)})
}

// told makes the run record its movers in made, too.
func (h *hasHooksOn) told() *hasHooksOn {
	mover := h.mover
	h.mover = func(m backup.Mover) run.Job {
		h.made = append(h.made, "backup "+m.Target.Name)
		if mover != nil {
			return mover(m)
		}
		return runtest.Succeeded("pod-0")
	}
	return h
}

func TestHooksOfTargetsRunInsideThoseOfTheRun(t *testing.T) {
	all := backup.Start{
		Timeout: time.Hour, ExecutionOrder: v1alpha1.ExecutionSequential,
		Hooks: &v1alpha1.ResolvedHooks{
			Pre: []v1alpha1.ResolvedHook{resolvedHook("pre")}, Post: []v1alpha1.ResolvedHook{resolvedHook("post")},
		},
	}
	for name, tt := range map[string]struct {
		outcome func(string, int32) *hookstage.Outcome
		mover   func(backup.Mover) run.Job
		made    []string
		want    []string
		reason  string
		says    string
	}{
		"all is well": {
			made: []string{
				"pre#1", "freeze-a#1", "backup a", "thaw-a#1", "freeze-b#1", "backup b", "thaw-b#1", "post#1",
			},
			want: []string{"a=Succeeded/Succeeded", "b=Succeeded/Succeeded"}, reason: v1alpha1.ReasonSucceeded,
		},
		"a hook before one target fails": {
			outcome: fails("freeze-a"),
			made:    []string{"pre#1", "freeze-a#1", "thaw-a#1", "freeze-b#1", "backup b", "thaw-b#1", "post#1"},
			want:    []string{"a=Failed/FailedToExecutePreBackupHooks", "b=Succeeded/Succeeded"},
			reason:  v1alpha1.ReasonTargetsFailed,
			says:    "a: not backed up because a preBackup hook failed: hook freeze-a: exit code 3",
		},
		"a hook after one target fails": {
			outcome: fails("thaw-a"),
			made: []string{
				"pre#1", "freeze-a#1", "backup a", "thaw-a#1", "freeze-b#1", "backup b", "thaw-b#1", "post#1",
			},
			want:   []string{"a=Failed/FailedToExecutePostBackupHooks", "b=Succeeded/Succeeded"},
			reason: v1alpha1.ReasonTargetsFailed,
			says:   "a: backed up, but a postBackup hook failed: hook thaw-a: exit code 3",
		},
		"a mover fails": {
			mover: func(m backup.Mover) run.Job {
				if m.Target.Name == "a" {
					return runtest.Failed(v1alpha1.ReasonUnreadable)
				}
				return runtest.Succeeded("pod-0")
			},
			made: []string{
				"pre#1", "freeze-a#1", "backup a", "thaw-a#1", "freeze-b#1", "backup b", "thaw-b#1", "post#1",
			},
			want: []string{"a=Failed/Unreadable", "b=Succeeded/Succeeded"}, reason: v1alpha1.ReasonTargetsFailed,
			says: "a: component pod-0: it says",
		},
		"the hook before all fails": {
			outcome: fails("pre"),
			made:    []string{"pre#1", "post#1"},
			want:    []string{"a=Failed/FailedToExecutePreBackupHooks", "b=Failed/FailedToExecutePreBackupHooks"},
			reason:  v1alpha1.ReasonFailedToExecutePreBackupHooks,
			says: "a: not backed up because a preBackup hook failed: hook pre: exit code 3; b: not backed up because " +
				"a preBackup hook failed: hook pre: exit code 3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			h := attempting(frozenAs(all, frozenAround("a"), frozenAround("b")))
			h.outcome, h.mover = tt.outcome, tt.mover
			h.told().settle(g)
			s := h.session
			g.Expect(h.made).To(Equal(tt.made))
			g.Expect(standing(s)).To(Equal(tt.want))
			g.Expect(s.Status.Reason).To(Equal(tt.reason))
			if tt.says != "" {
				g.Expect(conditions.GetMessage(s, "Ready")).To(Equal(tt.says))
			}
			for _, info := range s.Status.Snapshots {
				if info.Name == "snap-a" && name == "a hook after one target fails" {
					g.Expect(info.Phase).To(Equal(v1alpha1.SnapshotSucceeded), "the backup must stay")
				}
			}
		})
	}
}

// A hook after a target goes by how the backup of that target ended, not by how the other targets or the hooks did.
func TestHooksAfterATargetFollowItsBackup(t *testing.T) {
	g := NewWithT(t)
	post := func(target string) (hooks []v1alpha1.ResolvedHook) {
		for name, policy := range map[string]v1alpha1.HookExecutionPolicy{
			"always-": v1alpha1.HookAlways, "success-": v1alpha1.HookOnSuccess, "failure-": v1alpha1.HookOnFailure,
			"final-": v1alpha1.HookOnFinalRetryFailure,
		} {
			hooks = append(hooks, resolvedHook(name+target, after(policy)))
		}
		return hooks
	}
	h := attempting(frozen(around(runtest.Target("a", "pod-0"), nil, post("a")),
		around(runtest.Target("b", "pod-0"), nil, post("b"))))
	h.mover = func(m backup.Mover) run.Job {
		if m.Target.Name == "a" {
			return runtest.Failed(v1alpha1.ReasonUnreadable)
		}
		return runtest.Succeeded("pod-0")
	}
	h.settle(g)
	g.Expect(standing(h.session)).To(Equal([]string{"a=Failed/Unreadable", "b=Succeeded/Succeeded"}))
	g.Expect(h.made).To(ConsistOf("always-a#1", "failure-a#1", "final-a#1", "always-b#1", "success-b#1"))
}

func TestWhatTheHooksOfATargetKnow(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozen(frozenAround("a"), frozenAround("b")))
	h.mover = func(m backup.Mover) run.Job {
		if m.Target.Name == "a" {
			return runtest.Failed(v1alpha1.ReasonUnreadable)
		}
		return runtest.Succeeded("pod-0")
	}
	var pre, post []hookstage.Run
	for range 20 {
		for _, run := range h.look().Hooks {
			if run.Stage == hookstage.Pre {
				pre = append(pre, run)
			} else {
				post = append(post, run)
			}
		}
		h.at = h.at.Add(time.Second)
	}
	g.Expect(pre).To(HaveLen(2))
	g.Expect(post).To(HaveLen(2))
	app := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "StatefulSet", Name: "a"}
	for _, run := range []hookstage.Run{pre[0], post[0]} {
		g.Expect(run.Target).To(Equal("a"))
		g.Expect(run.Targets).To(Equal([]v1alpha1.TypedObjectReference{app}), "the hook must use its own pods")
		g.Expect(run.Summary.Target.Name).To(Equal("a"))
		g.Expect(run.Summary.Targets).To(HaveLen(1))
	}
	g.Expect(pre[0].Summary.Status.Phase).To(Equal("Running"))
	g.Expect(post[0].Summary.Status).To(
		And(HaveField("Phase", "Failed"), HaveField("Error", "a: component pod-0: it says")))
	g.Expect(post[1].Summary.Status.Phase).To(Equal("Succeeded"), "the failure of the other target must not count")
	g.Expect(hookPhases(h.session.Status.Targets[0].Hooks.PostHooks)).To(Equal([]string{"thaw-a=Succeeded"}))
	name := func(kind, target string) string {
		return hookstage.JobName(kind, "run", hookstage.Attempt{
			Target: target, Stage: hookstage.Pre, Name: "x", Number: 1,
		})
	}
	g.Expect(name("BackupSession", "a")).NotTo(Equal(name("BackupSession", "b")))
	g.Expect(name("RestoreSession", "")).NotTo(Equal(name("RestoreBatch", "")), "both can have the same name")
}

// A run ends while one target is being thawed and another one frozen. The freeze has its time, the thaw goes on, and
// both targets are thawed. A target that has not begun is neither frozen nor thawed.
func TestTheEndOfARunStopsNoThaw(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozenAs(backup.Start{Timeout: time.Hour, MaxParallel: new(int32(2))}, frozenAround("a"),
		frozenAround("b"), frozenAround("c")))
	h.outcome = func(name string, _ int32) *hookstage.Outcome {
		if name == "freeze-b" {
			return &hookstage.Outcome{Reason: v1alpha1.ReasonCommandFailed}
		}
		return nil
	}
	// The freeze of target b hangs: its attempt is under way and its end is unknown.
	hang := hookstage.Attempt{Target: "b", Stage: hookstage.Pre, Name: "freeze-b", Number: 1}
	thaw := hookstage.Attempt{Target: "a", Stage: hookstage.Post, Name: "thaw-a", Number: 1}
	for range 20 {
		h.look()
		delete(h.known, hang)
		delete(h.known, thaw)
		h.at = h.at.Add(time.Second)
	}
	g.Expect(standing(h.session)).To(Equal([]string{"a=Running/Succeeded", "b=Running/Running", "c=Pending/Pending"}))
	g.Expect(backup.MayBackUp(h.session, "a", h.at)).To(BeFalse(), "its thaw has begun")
	h.session.DeletionTimestamp = &metav1.Time{Time: h.at}
	d := h.look()
	g.Expect(d.StopHooks).To(BeEmpty())
	g.Expect(d.Hooks).To(ConsistOf(HaveField("Attempt", thaw)))
	h.at = h.at.Add(time.Minute)
	g.Expect(h.look().StopHooks).To(Equal([]hookstage.Attempt{hang}))
	h.settle(g)
	g.Expect(standing(h.session)).To(Equal([]string{
		"a=Succeeded/Succeeded", "b=Failed/Cancelled", "c=Failed/Cancelled",
	}))
	g.Expect(hookPhases(h.session.Status.Targets[1].Hooks.PostHooks)).To(Equal([]string{"thaw-b=Succeeded"}))
	g.Expect(h.session.Status.Targets[2].Hooks).To(BeNil())
}

// The Jobs of hooks that must still run survive the end of the run's movers.
func TestTheEndOfARunDeletesNoJobOfAHook(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozen(runtest.Target("a", "pod-0")))
	h.mover = func(backup.Mover) run.Job { return runtest.Running() }
	h.look()
	h.look()
	hook := runtest.Running()
	hook.Hook = true
	h.jobs["thaw"] = hook
	h.session.DeletionTimestamp = &metav1.Time{Time: h.at}
	g.Expect(h.look().Delete).To(Equal([]string{runtest.Job("a", "pod-0", 1)}))
	h.look()
	g.Expect(h.session.Status.Phase).To(Equal(backupFailed), "only the stage of the hook waits for the hook's Job")
}

// A target that reaches its deadline is thawed, even if it reached the deadline during its freeze.
func TestTheDeadlineOfATargetOwesItsThaw(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozen(within(time.Minute, frozenAround("a")), within(2*time.Minute, frozenAround("b"))))
	h.mover = func(backup.Mover) run.Job { return runtest.Running() }
	hang := hookstage.Attempt{Target: "a", Stage: hookstage.Pre, Name: "freeze-a", Number: 1}
	h.at = runtest.Now
	for range 5 {
		h.look()
		delete(h.known, hang)
		h.at = h.at.Add(time.Second)
	}
	h.at = runtest.Now.Add(time.Minute)
	g.Expect(h.look().StopHooks).To(BeEmpty())
	h.at = h.at.Add(10 * time.Second)
	g.Expect(h.look().StopHooks).To(Equal([]hookstage.Attempt{hang}))
	h.at = runtest.Now.Add(2 * time.Minute)
	h.settle(g)
	g.Expect(standing(h.session)).To(Equal([]string{"a=Failed/DeadlineExceeded", "b=Failed/DeadlineExceeded"}))
	for i, name := range []string{"a", "b"} {
		g.Expect(hookPhases(h.session.Status.Targets[i].Hooks.PostHooks)).To(Equal([]string{
			"thaw-" + name + "=Succeeded",
		}))
	}
}

// Deleting a Snapshot while its target is thawed does not change the outcome of the target.
func TestAThawKnowsWhatBecameOfItsTarget(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozen(around(runtest.Target("a", "pod-0"), nil, []v1alpha1.ResolvedHook{
		resolvedHook("thaw", retries(1)),
	})))
	h.outcome = func(_ string, n int32) *hookstage.Outcome {
		if n == 1 {
			return &hookstage.Outcome{Reason: v1alpha1.ReasonCommandFailed}
		}
		return nil
	}
	for h.session.Status.Targets[0].Hooks == nil {
		h.look()
	}
	h.snapshots, h.jobs = map[string]*v1alpha1.Snapshot{}, map[string]run.Job{}
	h.settle(g)
	g.Expect(h.jobs).To(BeEmpty(), "nothing is backed up after the thaw")
	g.Expect(h.session.Status.Phase).To(Equal(backupSucceeded))
	g.Expect(h.session.Status.Snapshots).To(HaveLen(1))
}

func TestARetryHasTheHooksOfItsTargetsAlone(t *testing.T) {
	g := NewWithT(t)
	names := func(name string) func(*v1alpha1.ResolvedHook) {
		return func(h *v1alpha1.ResolvedHook) {
			h.Values = []v1alpha1.HookValue{{Name: "backupSession", Value: name}}
		}
	}
	pre := func(target string) []v1alpha1.ResolvedHook {
		return []v1alpha1.ResolvedHook{resolvedHook("freeze-"+target, names("run"))}
	}
	start := backup.Start{
		Timeout: time.Hour, ExecutionOrder: v1alpha1.ExecutionSequential, MaxParallel: new(int32(1)),
		Policy: v1alpha1.ResolvedPolicy{Digest: "d"},
		Hooks:  &v1alpha1.ResolvedHooks{Pre: []v1alpha1.ResolvedHook{resolvedHook("pre", names("run"))}},
	}
	h := attempting(frozenAs(start, around(runtest.Target("a", "pod-0"), pre("a"), nil),
		around(runtest.Target("b", "pod-0"), pre("b"), nil),
		within(time.Minute, around(runtest.Target("c", "pod-0"), pre("c"), nil))))
	h.mover = func(m backup.Mover) run.Job {
		if m.Target.Name == "b" {
			return runtest.Succeeded("pod-0")
		}
		return runtest.Failed(v1alpha1.ReasonUnreadable)
	}
	h.settle(g)
	for name, now := range map[string][]backup.StartTarget{
		"as they were": nil,
		"as they are now": {
			{
				Resolved:  runtest.Target("c", "pod-7"),
				HookError: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonHookTemplateNotFound},
			},
			{Resolved: runtest.Target("b", "pod-7")},
			{Resolved: runtest.Target("a", "pod-7")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			again := backup.Start{Policy: v1alpha1.ResolvedPolicy{Digest: "d"}, Timeout: time.Hour}
			again.Again(&v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "retry"}}, h.session, now)
			g.Expect(again.ExecutionOrder).To(Equal(v1alpha1.ExecutionSequential))
			g.Expect(again.Targets).To(HaveLen(2))
			for i, name := range []string{"a", "c"} {
				got := again.Targets[i]
				g.Expect(got.Resolved.Name).To(Equal(name), "in the order of the first run")
				g.Expect(got.HookError).To(BeNil(), "its hooks are those of the first run")
				g.Expect(got.Resolved.Hooks.Pre).To(
					ConsistOf(And(HaveField("Name", "freeze-"+name),
						HaveField("Values", ConsistOf(HaveField("Value", "retry"))))))
			}
			g.Expect(again.Hooks.Pre).To(HaveLen(1), "the hooks of the session must run around them")
		})
	}
}

func TestRunsWithHooksOnATargetFollowEachOther(t *testing.T) {
	g := NewWithT(t)
	busy := frozen(frozenAround("a"), around(runtest.Target("b", "pod-0"), nil, nil)).session
	list := []v1alpha1.BackupSession{*busy}
	shares := func(hooks *v1alpha1.ResolvedHooks, targets ...v1alpha1.ResolvedTarget) bool {
		start := backup.Start{Hooks: hooks}
		for _, t := range targets {
			start.Targets = append(start.Targets, backup.StartTarget{Resolved: t})
		}
		return start.SharesHooks(list) != nil
	}
	run := &v1alpha1.ResolvedHooks{Post: []v1alpha1.ResolvedHook{resolvedHook("x")}}
	plain := func(name string) v1alpha1.ResolvedTarget { return around(runtest.Target(name, "pod-0"), nil, nil) }
	g.Expect(shares(nil, frozenAround("a"))).To(BeTrue())
	g.Expect(shares(run, plain("a"))).To(BeTrue())
	g.Expect(shares(nil, plain("a"), frozenAround("c"))).To(BeFalse(), "this run's hooks are on another target")
	g.Expect(shares(run, plain("b"))).To(BeFalse(), "the other run has no hooks on it")
}

func TestATargetWhoseHooksCannotRunFailsAlone(t *testing.T) {
	g := NewWithT(t)
	start := &backup.Start{Since: runtest.Now, Timeout: time.Hour, Targets: []backup.StartTarget{
		{
			Resolved:  frozenAround("a"),
			HookError: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonHookTemplateNotFound, Message: "there is none"},
		},
		{Resolved: frozenAround("b")},
	}}
	in := backup.Input{Now: runtest.Now, Session: &v1alpha1.BackupSession{}, Start: start}
	d := backup.Next(in)
	g.Expect(d.Status.Phase).To(Equal(backupPending), "it can still arrive with the policy")
	in.Now = runtest.Now.Add(run.WaitForChild)
	s := &v1alpha1.BackupSession{Status: backup.Next(in).Status}
	g.Expect(standing(s)).To(Equal([]string{"a=Failed/HookTemplateNotFound", "b=Running/Running"}))
	g.Expect(s.Status.Resolved.Targets[0].Hooks).To(BeNil())
}
