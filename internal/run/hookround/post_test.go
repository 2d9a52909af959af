package hookround_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

func TestPostHooks(t *testing.T) {
	const post = hookstage.Post
	runs := conditionOf(metav1.ConditionUnknown, v1alpha1.ReasonRunning, "the postBackup hooks run")
	for name, tt := range map[string]struct {
		owner    *owner
		work     hookround.WorkEnd
		state    hookround.State
		failures string
		phase    v1alpha1.HookPhase
		about    metav1.Condition
		ready    metav1.Condition
		after    time.Duration
		verify   bool
		deleted  []string
		runs     int
		ended    string
	}{
		"no hooks":             {owner: &owner{}},
		"only hooks before it": {owner: without(post)},
		"they begin": {
			owner: withHooks(), state: hookround.UnderWay, phase: v1alpha1.HookRunning, ready: runs, after: time.Second,
		},
		"an attempt must be made": {
			owner: until(time.Minute, withHooks().are("", v1alpha1.HookRunning)), state: hookround.UnderWay,
			phase: v1alpha1.HookRunning, ready: runs, runs: 1, // The deadline is that of the work, which is over.
		},
		"the last one succeeds": {
			owner: withHooks().are("", v1alpha1.HookRunning).ends(post, ""), state: hookround.EndedNow,
			phase: v1alpha1.HookSucceeded, ended: v1alpha1.ReasonSucceeded,
			about: conditionOf(metav1.ConditionTrue, v1alpha1.ReasonSuccessfullyExecutedPostBackupHooks,
				"the postBackup hooks succeeded"),
		},
		"the last one fails": {
			owner: withHooks().are("", v1alpha1.HookRunning).ends(post, "Bad"), state: hookround.EndedNow,
			failures: "hook z: boom", phase: v1alpha1.HookFailed, ended: "Bad",
			about: conditionOf(metav1.ConditionFalse, v1alpha1.ReasonFailedToExecutePostBackupHooks, "hook z: boom"),
		},
		"nothing was tried": {
			owner: withHooks(), work: hookround.WorkEnd{Skipped: true}, state: hookround.EndedNow,
			phase: v1alpha1.HookSkipped,
			about: conditionOf(metav1.ConditionTrue, v1alpha1.ReasonSuccessfullyExecutedPostBackupHooks,
				"no postBackup hook had to run"),
		},
		"a Job times out": {
			owner: withHooks().are("", v1alpha1.HookRunning).lingers(), state: hookround.UnderWay,
			phase: v1alpha1.HookFailed, ready: runs, after: time.Second, verify: true,
			ended: v1alpha1.ReasonHookTimeout,
		},
		"a Job outlives its hook": {
			owner: withHooks().are("", v1alpha1.HookFailed).lingers(), state: hookround.UnderWay,
			phase: v1alpha1.HookFailed, ready: runs, after: 5 * time.Second, deleted: []string{jobName(post, "z")},
		},
		"they have succeeded": {
			owner: withHooks().are("", v1alpha1.HookSucceeded), phase: v1alpha1.HookSucceeded,
		},
		"they have failed": {
			owner: withHooks().are("", v1alpha1.HookFailed), failures: "hook z: z says", phase: v1alpha1.HookFailed,
		},
		"no condition tells": {
			owner: quiet(withHooks().are("", v1alpha1.HookRunning).ends(post, "")), state: hookround.EndedNow,
			phase: v1alpha1.HookSucceeded, ended: v1alpha1.ReasonSucceeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, o := NewWithT(t), tt.owner
			state, failures := o.round().Post(tt.work)
			g.Expect(state).To(Equal(tt.state))
			g.Expect(failures).To(Equal(tt.failures))
			if tt.phase == "" {
				g.Expect(o.status).To(BeNil(), "a stage without hooks leaves no status")
			} else {
				g.Expect(o.status.PostHooks).To(HaveLen(1))
				g.Expect(o.status.PostHooks[0].Phase).To(Equal(tt.phase))
			}
			g.Expect(o.condition(v1alpha1.ConditionPostBackupHooksExecutionSucceeded)).To(Equal(tt.about))
			g.Expect(o.condition(meta.ReadyCondition)).To(Equal(tt.ready), "the caller sets the last Ready")
			g.Expect(o.condition(v1alpha1.ConditionPreBackupHooksExecutionSucceeded)).To(BeZero())
			g.Expect(o.decision.After).To(Equal(tt.after))
			g.Expect(o.decision.Verify).To(Equal(tt.verify))
			g.Expect(o.deleted).To(Equal(tt.deleted))
			g.Expect(o.decision.Hooks).To(HaveLen(tt.runs))
			g.Expect(o.decision.EndedHooks).To(Equal(ends(post, "z", tt.ended)))
		})
	}
}

func TestPostHooksApplyByTheirPolicy(t *testing.T) {
	good, bad := hookround.WorkEnd{}, hookround.WorkEnd{Failed: true}
	goodLast, badLast := hookround.WorkEnd{LastTry: true}, hookround.WorkEnd{Failed: true, LastTry: true}
	skipped := hookround.WorkEnd{Skipped: true, Failed: true, LastTry: true}
	for policy, after := range map[v1alpha1.HookExecutionPolicy][]hookround.WorkEnd{
		v1alpha1.HookAlways:              {good, goodLast, bad, badLast},
		"":                               {good, goodLast, bad, badLast},
		v1alpha1.HookOnSuccess:           {good, goodLast},
		v1alpha1.HookOnFailure:           {bad, badLast},
		v1alpha1.HookOnFinalRetryFailure: {badLast},
	} {
		for _, work := range []hookround.WorkEnd{good, goodLast, bad, badLast, skipped} {
			g, o := NewWithT(t), withHooks()
			o.hooks.Post[0].ExecutionPolicy = policy
			state, _ := o.round().Post(work)
			applies := state == hookround.UnderWay
			want := false
			for _, w := range after {
				want = want || w == work
			}
			g.Expect(applies).To(Equal(want), "%s after %+v", policy, work)
		}
	}
}

func TestARoundAddsToTheDecision(t *testing.T) {
	g := NewWithT(t)
	o := withHooks().are(v1alpha1.HookRunning, "").lingers()
	o.decision.Verify, o.deleted = true, []string{"other"}
	o.decision.StopHooks = []hookstage.Attempt{{Name: "other"}}
	o.decision.Hooks = []hookstage.Run{{Attempt: hookstage.Attempt{Name: "other"}}}
	o.decision.After = time.Millisecond
	_, _ = o.round().Pre("Cancelled", true)
	g.Expect(o.deleted).To(Equal([]string{"other", jobName(hookstage.Pre, "a")}))
	g.Expect(o.decision.StopHooks).To(Equal([]hookstage.Attempt{
		{Name: "other"}, {Stage: hookstage.Pre, Name: "a", Number: 1},
	}))

	o.hooks.Pre[0].Function = nil
	o.are(v1alpha1.HookRunning, "")
	_, _ = o.round().Pre("", true)
	g.Expect(o.decision.Hooks).To(HaveLen(2))
	made := o.decision.Hooks[1]
	g.Expect(made.Hook).To(Equal(&o.hooks.Pre[0]))
	g.Expect(made.Targets).To(Equal(o.hooks.Targets))
	g.Expect(made.Since).To(Equal(runtest.Now.Add(-time.Minute)))
	g.Expect(made.Summary.Name).To(Equal("run"))
	g.Expect(o.decision.Verify).To(BeTrue(), "an earlier wish stays")
	g.Expect(o.decision.After).To(Equal(time.Millisecond), "an earlier wish stays")
}

func TestARoundOfATarget(t *testing.T) {
	g := NewWithT(t)
	o := withHooks().are(v1alpha1.HookRunning, "")
	o.room = 10
	r := o.round()
	r.Target = "db"
	attempt := hookstage.Attempt{Target: "db", Stage: hookstage.Pre, Name: "a", Number: 1}
	_, _ = r.Pre("", true)
	g.Expect(o.decision.Hooks).To(HaveLen(1))
	g.Expect(o.decision.Hooks[0].Attempt).To(Equal(attempt))

	o.results[attempt] = &hookstage.Outcome{Reason: "Bad", Message: strings.Repeat("x", 100)}
	state, _ := r.Pre("", true)
	g.Expect(state).To(Equal(hookround.EndedNow))
	g.Expect(len(o.status.PreHooks[0].Message)).To(BeNumerically("<=", 10))

	o = withHooks().are(v1alpha1.HookSucceeded, "").lingers()
	r = o.round()
	r.Target = "db"
	state, _ = r.Pre("", true)
	g.Expect(state).To(Equal(hookround.EndedBefore), "the Job belongs to the hook of the run")
}

func TestMayWork(t *testing.T) {
	list := func(phases ...v1alpha1.HookPhase) (out []v1alpha1.HookStatus) {
		for _, p := range phases {
			out = append(out, v1alpha1.HookStatus{Name: "a", Phase: p, Message: "m"})
		}
		return out
	}
	with := &v1alpha1.ResolvedHooks{Pre: []v1alpha1.ResolvedHook{{Name: "a"}}}
	for name, tt := range map[string]struct {
		hooks  *v1alpha1.ResolvedHooks
		status *v1alpha1.HookStatuses
		want   bool
	}{
		"no hooks":        {want: true},
		"only post hooks": {hooks: &v1alpha1.ResolvedHooks{Post: with.Pre}, want: true},
		"not begun":       {hooks: with},
		"empty status":    {hooks: with, status: new(v1alpha1.HookStatuses{})},
		"one runs": {
			hooks:  with,
			status: &v1alpha1.HookStatuses{PreHooks: list(v1alpha1.HookSucceeded, v1alpha1.HookRunning)},
		},
		"one failed": {
			hooks: with, status: &v1alpha1.HookStatuses{PreHooks: list(v1alpha1.HookFailed, v1alpha1.HookSucceeded)},
		},
		"they succeeded": {
			hooks: with, want: true,
			status: &v1alpha1.HookStatuses{PreHooks: list(v1alpha1.HookSucceeded, v1alpha1.HookSkipped)},
		},
		"post hooks have begun": {
			hooks: with,
			status: &v1alpha1.HookStatuses{
				PreHooks: list(v1alpha1.HookSucceeded), PostHooks: list(v1alpha1.HookPending),
			},
		},
		"post hooks have begun, without pre hooks": {
			status: &v1alpha1.HookStatuses{PostHooks: list(v1alpha1.HookPending)},
		},
	} {
		NewWithT(t).Expect(hookround.MayWork(tt.hooks, tt.status)).To(Equal(tt.want), name)
	}
}

func TestWordsOfHooks(t *testing.T) {
	g := NewWithT(t)
	g.Expect(hookround.Backup.NotDoneMessage("x")).To(Equal("not backed up because a preBackup hook failed: x"))
	g.Expect(hookround.Restore.NotDoneMessage("x")).To(Equal("not restored because a preRestore hook failed: x"))
	g.Expect(hookround.Backup.HooksFailedMessage("done", "x")).To(Equal("done, but a postBackup hook failed: x"))
	g.Expect(hookround.Restore.HooksFailedMessage("done", "x")).To(Equal("done, but a postRestore hook failed: x"))

	o := withHooks().are(v1alpha1.HookRunning, v1alpha1.HookRunning).ends(hookstage.Pre, "").ends(hookstage.Post, "Bad")
	r := o.round()
	r.Report.Work = &hookround.Restore
	_, _ = r.Pre("", true)
	_, _ = r.Post(hookround.WorkEnd{})
	g.Expect(o.condition(v1alpha1.ConditionPreRestoreHooksExecutionSucceeded)).To(Equal(conditionOf(
		metav1.ConditionTrue, v1alpha1.ReasonSuccessfullyExecutedPreRestoreHooks, "the preRestore hooks succeeded")))
	g.Expect(o.condition(v1alpha1.ConditionPostRestoreHooksExecutionSucceeded)).To(Equal(conditionOf(
		metav1.ConditionFalse, v1alpha1.ReasonFailedToExecutePostRestoreHooks, "hook z: boom")))
	g.Expect(o.condition(meta.ReadyCondition).Message).To(Equal("the restore runs"))
}
