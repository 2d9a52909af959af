package hookround_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/decision"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// owner is a run with hooks, and what they ask for.
type owner struct {
	hooks      *v1alpha1.ResolvedHooks
	status     *v1alpha1.HookStatuses
	results    map[hookstage.Attempt]*hookstage.Outcome
	jobs       map[string]run.Job
	conditions []metav1.Condition
	decision   decision.Base
	deleted    []string
	quiet      bool
	room       int
	deadline   time.Duration
}

func withHooks() *owner {
	return &owner{
		hooks: &v1alpha1.ResolvedHooks{
			Pre:     []v1alpha1.ResolvedHook{{Name: "a", Timeout: &metav1.Duration{Duration: time.Minute}}},
			Post:    []v1alpha1.ResolvedHook{{Name: "z", Timeout: &metav1.Duration{Duration: time.Minute}}},
			Targets: []v1alpha1.TypedObjectReference{{Kind: "StatefulSet", Name: "db"}},
		},
		results: map[hookstage.Attempt]*hookstage.Outcome{}, jobs: map[string]run.Job{}, deadline: time.Hour,
	}
}

func (o *owner) round() *hookround.Round {
	r := &hookround.Round{
		Now: runtest.Now, Kind: v1alpha1.BackupSessionKind, Owner: "run", Hooks: o.hooks, Status: &o.status,
		Results: func(a hookstage.Attempt) *hookstage.Outcome { return o.results[a] }, Jobs: o.jobs, Room: o.room,
		Since:    &metav1.Time{Time: runtest.Now.Add(-time.Minute)},
		Summary:  func() hook.Summary { return hook.Summary{Name: "run"} },
		Decision: &o.decision, Delete: &o.deleted,
	}
	if o.deadline != 0 {
		r.Deadline = &metav1.Time{Time: runtest.Now.Add(o.deadline)}
	}
	if !o.quiet {
		r.Report = &hookround.Report{Work: &hookround.Backup, Conditions: &o.conditions, Generation: 7}
	}
	return r
}

// are sets the phases of the hooks; "" means that the stage has not begun.
func (o *owner) are(pre, post v1alpha1.HookPhase) *owner {
	of := func(name string, phase v1alpha1.HookPhase) []v1alpha1.HookStatus {
		if phase == "" {
			return nil
		}
		st := v1alpha1.HookStatus{Name: name, Phase: phase, Attempts: 1, Message: name + " says"}
		if phase == v1alpha1.HookPending || phase == v1alpha1.HookSkipped {
			st.Attempts = 0
		}
		return []v1alpha1.HookStatus{st}
	}
	o.status = &v1alpha1.HookStatuses{PreHooks: of("a", pre), PostHooks: of("z", post)}
	return o
}

// ends makes the running attempt of a hook end.
func (o *owner) ends(stage hookstage.Stage, reason string) *owner {
	name := map[hookstage.Stage]string{hookstage.Pre: "a", hookstage.Post: "z"}[stage]
	attempt := hookstage.Attempt{Stage: stage, Name: name, Number: 1}
	o.results[attempt] = &hookstage.Outcome{Reason: reason, Message: "boom"}
	return o
}

// began makes the running attempt of the pre hook begin so long ago.
func (o *owner) began(ago time.Duration) *owner {
	o.status.PreHooks[0].StartTime = &metav1.Time{Time: runtest.Now.Add(-ago)}
	return o
}

// underWay makes this process make the attempt of the pre hook.
func (o *owner) underWay() *owner {
	o.results[hookstage.Attempt{Stage: hookstage.Pre, Name: "a", Number: 1}] = &hookstage.Outcome{UnderWay: true}
	return o
}

// unbegun makes a process that began so long ago stop the attempt of the pre hook before it began.
func (o *owner) unbegun(since time.Duration) *owner {
	o.results[hookstage.Attempt{Stage: hookstage.Pre, Name: "a", Number: 1}] = &hookstage.Outcome{
		Reason: v1alpha1.ReasonCancelled, Since: runtest.Now.Add(-since),
	}
	return o
}

// retries makes the pre hook have two attempts.
func (o *owner) retries() *owner {
	o.hooks.Pre[0].MaxRetry = 1
	return o
}

// failedOnce makes the pre hook wait for its second attempt.
func (o *owner) failedOnce() *owner {
	o.status.PreHooks[0].Attempts = 1
	return o
}

// lingers makes both hooks use a Function whose Job still runs.
func (o *owner) lingers() *owner {
	o.hooks.Pre[0].Function, o.hooks.Post[0].Function = &v1alpha1.ResolvedFunction{}, &v1alpha1.ResolvedFunction{}
	for name, stage := range map[string]hookstage.Stage{"a": hookstage.Pre, "z": hookstage.Post} {
		o.jobs[jobName(stage, name)] = run.Job{Observation: observe.Observation{State: observe.StateRunning}}
	}
	return o
}

// ends returns the end of the first attempt of a hook; "" means that it has not ended.
func ends(stage hookstage.Stage, name, reason string) []hookstage.End {
	if reason == "" {
		return nil
	}
	return []hookstage.End{{Attempt: hookstage.Attempt{Stage: stage, Name: name, Number: 1}, Reason: reason}}
}

func jobName(stage hookstage.Stage, name string) string {
	return hookstage.JobName(v1alpha1.BackupSessionKind, "run", hookstage.Attempt{Stage: stage, Name: name, Number: 1})
}

func (o *owner) condition(kind string) metav1.Condition {
	if c := apimeta.FindStatusCondition(o.conditions, kind); c != nil {
		return metav1.Condition{
			Status: c.Status, Reason: c.Reason, Message: c.Message, ObservedGeneration: c.ObservedGeneration,
		}
	}
	return metav1.Condition{}
}

func conditionOf(status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Status: status, Reason: reason, Message: message, ObservedGeneration: 7}
}

func TestPreHooks(t *testing.T) {
	const pre, post = hookstage.Pre, hookstage.Post
	runs := conditionOf(metav1.ConditionUnknown, v1alpha1.ReasonRunning, "the preBackup hooks run")
	works := conditionOf(metav1.ConditionUnknown, v1alpha1.ReasonRunning, "the backup runs")
	succeeded := conditionOf(metav1.ConditionTrue, v1alpha1.ReasonSuccessfullyExecutedPreBackupHooks,
		"the preBackup hooks succeeded")
	failed := func(why string) metav1.Condition {
		return conditionOf(metav1.ConditionFalse, v1alpha1.ReasonFailedToExecutePreBackupHooks, "hook a: "+why)
	}
	const late = "the hook was stopped; it did not end within 1m0s"
	const unbegun = "the hook was stopped before it began"
	skipped := conditionOf(metav1.ConditionTrue, v1alpha1.ReasonSuccessfullyExecutedPreBackupHooks,
		"no preBackup hook had to run")
	for name, tt := range map[string]struct {
		owner    *owner
		stop     string
		unable   bool
		state    hookround.State
		failures string
		phase    v1alpha1.HookPhase
		about    metav1.Condition
		ready    metav1.Condition
		after    time.Duration
		verify   bool
		stopped  int
		deleted  []string
		runs     int
		ended    string
	}{
		"no hooks":              {owner: &owner{}},
		"only hooks afterwards": {owner: without(pre)},
		"they begin": {
			owner: withHooks(), state: hookround.UnderWay, phase: v1alpha1.HookRunning, ready: runs, after: time.Second,
		},
		"an attempt must be made": {
			owner: withHooks().are(v1alpha1.HookRunning, ""), state: hookround.UnderWay, phase: v1alpha1.HookRunning,
			ready: runs, after: time.Hour, runs: 1,
		},
		"an attempt is under way": {
			owner: withHooks().are(v1alpha1.HookRunning, "").underWay(), state: hookround.UnderWay,
			phase: v1alpha1.HookRunning, ready: runs, after: time.Hour, runs: 1,
		},
		"the deadline is near": {
			owner: until(time.Minute, withHooks().are(v1alpha1.HookRunning, "")), state: hookround.UnderWay,
			phase: v1alpha1.HookRunning, ready: runs, after: time.Minute, runs: 1,
		},
		"the deadline has passed": {
			owner: until(-time.Minute, withHooks().are(v1alpha1.HookRunning, "")), state: hookround.UnderWay,
			phase: v1alpha1.HookRunning, ready: runs, after: time.Second, runs: 1,
		},
		"others wake the owner": {
			owner: until(0, withHooks().are(v1alpha1.HookRunning, "")), state: hookround.UnderWay,
			phase: v1alpha1.HookRunning, ready: runs, runs: 1,
		},
		"the last one succeeds": {
			owner: withHooks().are(v1alpha1.HookRunning, "").ends(pre, ""), state: hookround.EndedNow,
			phase: v1alpha1.HookSucceeded, about: succeeded, ready: works, ended: v1alpha1.ReasonSucceeded,
		},
		"the last one fails": {
			owner: withHooks().are(v1alpha1.HookRunning, "").ends(pre, "Bad"), state: hookround.EndedNow,
			failures: "hook a: boom", phase: v1alpha1.HookFailed, about: failed("boom"), ready: works,
			ended: "Bad",
		},
		"the last one fails and is tried again": {
			owner: withHooks().retries().are(v1alpha1.HookRunning, "").ends(pre, "Bad"), state: hookround.UnderWay,
			phase: v1alpha1.HookPending, ready: runs, after: time.Second, ended: "Bad",
		},
		"nothing can be done": {
			owner: withHooks(), unable: true, state: hookround.EndedNow, phase: v1alpha1.HookSkipped, about: skipped,
			ready: works,
		},
		"the run stops before they begin": {
			owner: withHooks(), stop: "Cancelled", state: hookround.EndedNow, phase: v1alpha1.HookSkipped,
			about: skipped, ready: works,
		},
		"the run stops in between": {
			owner: withHooks().are(v1alpha1.HookRunning, "").began(30 * time.Second), stop: "Cancelled",
			state: hookround.UnderWay, phase: v1alpha1.HookRunning, ready: runs, after: 35 * time.Second,
		},
		"the run stops, and its deadline has passed": {
			owner: until(-time.Minute, withHooks().are(v1alpha1.HookRunning, "").began(30*time.Second)),
			stop:  "DeadlineExceeded", state: hookround.UnderWay, phase: v1alpha1.HookRunning, ready: runs,
			after: 35 * time.Second,
		},
		"the run stops, and the hook does not end": {
			owner: withHooks().are(v1alpha1.HookRunning, "").began(65 * time.Second), stop: "Cancelled",
			state: hookround.EndedNow, failures: "hook a: " + late, phase: v1alpha1.HookFailed, about: failed(late),
			ready: works, stopped: 1, ended: "Cancelled",
		},
		"the run stops, and the hook is of a clock that was ahead": {
			owner: withHooks().are(v1alpha1.HookRunning, "").began(-time.Hour), stop: "Cancelled",
			state: hookround.EndedNow, failures: "hook a: " + late, phase: v1alpha1.HookFailed, about: failed(late),
			ready: works, stopped: 1, ended: "Cancelled",
		},
		"the run stops, and the hook waits for its turn or has begun after that": {
			owner: withHooks().are(v1alpha1.HookRunning, "").began(time.Hour).underWay(), stop: "Cancelled",
			state: hookround.UnderWay, phase: v1alpha1.HookRunning, ready: runs, after: 10 * time.Second, stopped: 1,
		},
		"the run stops, and the hook never began": {
			owner: withHooks().retries().are(v1alpha1.HookRunning, "").unbegun(0), stop: "DeadlineExceeded",
			state: hookround.EndedNow, failures: "hook a: " + unbegun, phase: v1alpha1.HookFailed,
			about: failed(unbegun), ready: works, stopped: 1, ended: "DeadlineExceeded",
		},
		"the run stops, and the hook never began, but an earlier manager can have begun it": {
			owner: withHooks().are(v1alpha1.HookRunning, "").began(30 * time.Second).unbegun(20 * time.Second),
			stop:  "Cancelled", state: hookround.UnderWay, phase: v1alpha1.HookRunning, ready: runs,
			after: 35 * time.Second,
		},
		"the run stops, and the hook of this manager never began": {
			owner: withHooks().are(v1alpha1.HookRunning, "").began(30 * time.Second).unbegun(40 * time.Second),
			stop:  "Cancelled", state: hookround.EndedNow, failures: "hook a: " + unbegun, phase: v1alpha1.HookFailed,
			about: failed(unbegun), ready: works, stopped: 1, ended: "Cancelled",
		},
		"the run stops, and the hook succeeds": {
			owner: withHooks().are(v1alpha1.HookRunning, "").began(time.Second).ends(pre, ""), stop: "Cancelled",
			state: hookround.EndedNow, phase: v1alpha1.HookSucceeded, about: succeeded, ready: works,
			ended: v1alpha1.ReasonSucceeded,
		},
		"the run stops, and the hook fails": {
			owner: withHooks().retries().are(v1alpha1.HookRunning, "").began(time.Second).ends(pre, "Bad"),
			stop:  "Cancelled", state: hookround.EndedNow, failures: "hook a: boom", phase: v1alpha1.HookFailed,
			about: failed("boom"), ready: works, ended: "Bad",
		},
		"the run stops between two attempts": {
			owner: withHooks().are(v1alpha1.HookPending, "").failedOnce(), stop: "Cancelled", state: hookround.EndedNow,
			failures: "hook a: the hook was stopped", phase: v1alpha1.HookFailed, about: failed("the hook was stopped"),
			ready: works, stopped: 1,
		},
		"a Job outlives the stop": {
			owner: withHooks().are(v1alpha1.HookRunning, "").lingers(), stop: "Cancelled", state: hookround.UnderWay,
			phase: v1alpha1.HookFailed, ready: runs, after: time.Second, verify: true, stopped: 1,
			deleted: []string{jobName(pre, "a")}, ended: "Cancelled",
		},
		"a Job outlives its hook": {
			owner: withHooks().are(v1alpha1.HookSucceeded, "").lingers(), state: hookround.UnderWay,
			phase: v1alpha1.HookSucceeded, ready: runs, after: 5 * time.Second, deleted: []string{jobName(pre, "a")},
		},
		"they have succeeded": {
			owner: withHooks().are(v1alpha1.HookSucceeded, ""), phase: v1alpha1.HookSucceeded,
		},
		"they have failed": {
			owner: withHooks().are(v1alpha1.HookFailed, ""), failures: "hook a: a says", phase: v1alpha1.HookFailed,
		},
		"no condition tells that they run": {
			owner: quiet(withHooks().are(v1alpha1.HookRunning, "")), state: hookround.UnderWay,
			phase: v1alpha1.HookRunning, after: time.Hour, runs: 1,
		},
		"no condition tells how they ended": {
			owner: quiet(withHooks().are(v1alpha1.HookRunning, "").ends(pre, "")), state: hookround.EndedNow,
			phase: v1alpha1.HookSucceeded, ended: v1alpha1.ReasonSucceeded,
		},
		"post hooks do not matter": {
			owner: withHooks().are(v1alpha1.HookSucceeded, v1alpha1.HookRunning).ends(post, ""),
			phase: v1alpha1.HookSucceeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, o := NewWithT(t), tt.owner
			state, failures := o.round().Pre(tt.stop, !tt.unable)
			g.Expect(state).To(Equal(tt.state))
			g.Expect(failures).To(Equal(tt.failures))
			if tt.phase == "" {
				g.Expect(o.status).To(BeNil(), "a stage without hooks leaves no status")
			} else {
				g.Expect(o.status.PreHooks).To(HaveLen(1))
				g.Expect(o.status.PreHooks[0].Phase).To(Equal(tt.phase))
			}
			g.Expect(o.condition(v1alpha1.ConditionPreBackupHooksExecutionSucceeded)).To(Equal(tt.about))
			g.Expect(o.condition(meta.ReadyCondition)).To(Equal(tt.ready))
			g.Expect(o.condition(v1alpha1.ConditionPostBackupHooksExecutionSucceeded)).To(BeZero())
			g.Expect(o.decision.After).To(Equal(tt.after))
			g.Expect(o.decision.Verify).To(Equal(tt.verify))
			g.Expect(o.decision.StopHooks).To(HaveLen(tt.stopped))
			g.Expect(o.deleted).To(Equal(tt.deleted))
			g.Expect(o.decision.Hooks).To(HaveLen(tt.runs))
			g.Expect(o.decision.EndedHooks).To(Equal(ends(pre, "a", tt.ended)))
		})
	}
}

func without(stage hookstage.Stage) *owner {
	o := withHooks()
	if stage == hookstage.Pre {
		o.hooks.Pre = nil
	} else {
		o.hooks.Post = nil
	}
	return o
}

func quiet(o *owner) *owner {
	o.quiet = true
	return o
}

func until(d time.Duration, o *owner) *owner {
	o.deadline = d
	return o
}
