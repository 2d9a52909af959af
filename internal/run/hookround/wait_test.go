package hookround_test

import (
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

// finds makes the attempt of both hooks fail so long ago, before it did anything. It is in the status since began.
func (o *owner) finds(ago, began time.Duration) *owner {
	for stage, name := range map[hookstage.Stage]string{hookstage.Pre: "a", hookstage.Post: "z"} {
		o.results[hookstage.Attempt{Stage: stage, Name: name, Number: 1}] = &hookstage.Outcome{
			Reason: v1alpha1.ReasonNoRunningPod, Message: "no pod runs", Unbegun: true, At: runtest.Now.Add(-ago),
		}
	}
	for _, list := range [][]v1alpha1.HookStatus{o.status.PreHooks, o.status.PostHooks} {
		for i := range list {
			list[i].StartTime = &metav1.Time{Time: runtest.Now.Add(-began)}
		}
	}
	return o
}

// names makes both hooks ask a server.
func (o *owner) names(pre, post string) *owner {
	for h, host := range map[*v1alpha1.ResolvedHook]string{&o.hooks.Pre[0]: pre, &o.hooks.Post[0]: post} {
		h.Executor.Type = v1alpha1.HookExecutorOperator
		h.Action = &v1alpha1.HookAction{HTTPGet: &v1alpha1.HookHTTPGetAction{Host: host}}
	}
	return o
}

// because gives the failed pre hook a reason.
func (o *owner) because(reason string) *owner {
	o.status.PreHooks[0].Reason = reason
	return o
}

// A rollout or a drain leaves no pod for seconds or minutes. The frozen application must be thawed all the same.
func TestAPostHookThatCouldNotBeginIsStillOwed(t *testing.T) {
	const running, succeeded, failed = v1alpha1.HookRunning, v1alpha1.HookSucceeded, v1alpha1.HookFailed
	s := time.Second
	frozen := func() *owner { return withHooks().are(succeeded, running) }
	refused := func() *owner { return withHooks().are(failed, running) }
	later := func(earlier *hookstage.Outcome) *owner {
		o := frozen().finds(s, s)
		z := hookstage.Attempt{Stage: hookstage.Post, Name: "z", Number: 1}
		found := o.results[z]
		o.results[z], z.Number = earlier, 2
		o.results[z], o.status.PostHooks[0].Attempts, o.hooks.Post[0].MaxRetry = found, 2, 1
		return o
	}
	long := frozen().finds(s, 6*time.Minute)
	long.hooks.Post[0].Timeout.Duration = time.Hour
	for name, tt := range map[string]struct {
		owner *owner
		waits bool
		after time.Duration
		runs  int
	}{
		"it waits":                    {owner: frozen().finds(s, s), waits: true, after: 4 * s},
		"it is tried again":           {owner: frozen().finds(5*s, 10*s), waits: true, runs: 1},
		"its pause grows":             {owner: long, waits: true, after: 29 * s},
		"its timeout is near":         {owner: frozen().finds(s, 58*s), waits: true, after: 2 * s},
		"its timeout has passed":      {owner: frozen().finds(s, time.Minute)},
		"a clock was ahead":           {owner: frozen().finds(s, -time.Hour)},
		"the last one acted":          {owner: later(&hookstage.Outcome{Reason: "x"}), waits: true, after: 4 * s},
		"the last one is unknown":     {owner: later(nil), waits: true, after: 4 * s},
		"the last one waited":         {owner: later(&hookstage.Outcome{Unbegun: true})},
		"a Function":                  {owner: function(frozen().finds(s, s)), waits: true, after: 4 * s},
		"without pre hooks":           {owner: alone(frozen().finds(s, s))},
		"the pre hook can have acted": {owner: refused().finds(s, s), waits: true, after: 4 * s},
		"the pre hook found no pod":   {owner: refused().because("NoRunningPod").finds(s, s)},
		"the pre hook had no Secret":  {owner: refused().because("SecretNotFound").finds(s, s)},
		"no pre hook began":           {owner: refused().skipped().finds(s, s)},
		"the server of the pre hook":  {owner: frozen().names("db", "db").finds(s, s), waits: true, after: 4 * s},
		"another server":              {owner: frozen().names("db", "chat").finds(s, s)},
		"a server, without pre hooks": {owner: alone(frozen().names("", "chat").finds(s, s))},
	} {
		t.Run(name, func(t *testing.T) {
			g, o := NewWithT(t), tt.owner
			attempts := o.status.PostHooks[0].Attempts
			state, _ := o.round().Post(hookround.WorkEnd{})
			st := o.status.PostHooks[0]
			g.Expect(o.decision.After).To(Equal(tt.after))
			g.Expect(o.decision.Hooks).To(HaveLen(tt.runs))
			for _, made := range o.decision.Hooks {
				g.Expect(made.Again).To(BeTrue())
			}
			g.Expect(st.Attempts).To(Equal(attempts), "no attempt is used up")
			if !tt.waits {
				g.Expect(state).To(Equal(hookround.EndedNow))
				g.Expect(st.Phase).To(Equal(failed))
				return
			}
			g.Expect(state).To(Equal(hookround.UnderWay))
			g.Expect(st.Phase).To(Equal(running))
			g.Expect(st.Reason).To(Equal(v1alpha1.ReasonNoRunningPod))
			g.Expect(st.Message).To(Equal("waiting: no pod runs"))
			g.Expect(o.condition(meta.ReadyCondition)).To(Equal(conditionOf(
				metav1.ConditionUnknown, v1alpha1.ReasonRunning, "waiting: hook z could not begin: no pod runs")))
			g.Expect(o.decision.EndedHooks).To(BeEmpty())
		})
	}
}

// Nothing is frozen before a pre hook has acted, so it fails at once.
func TestAPreHookThatCouldNotBeginFailsAtOnce(t *testing.T) {
	g, o := NewWithT(t), withHooks().are(v1alpha1.HookRunning, "").finds(time.Second, time.Second)
	state, failures := o.round().Pre("", true)
	g.Expect(state).To(Equal(hookround.EndedNow))
	g.Expect(failures).To(Equal("hook a: no pod runs"))
}

// While an attempt that is made again is under way, the status still says what it waited for. A manager that was
// started since does not know the attempt, and makes it too: it does not wait longer for that.
func TestAWaitIsToldUntilItsEnd(t *testing.T) {
	g, o := NewWithT(t), withHooks().are(v1alpha1.HookSucceeded, v1alpha1.HookRunning).finds(0, time.Second)
	attempt := hookstage.Attempt{Stage: hookstage.Post, Name: "z", Number: 1}
	_, _ = o.round().Post(hookround.WorkEnd{})
	told, began := o.condition(meta.ReadyCondition), o.status.PostHooks[0].StartTime
	g.Expect(told.Message).To(HavePrefix("waiting: "))
	for _, known := range []*hookstage.Outcome{{UnderWay: true}, nil} {
		o.results[attempt], o.decision.Hooks = known, nil
		_, _ = o.round().Post(hookround.WorkEnd{})
		g.Expect(o.condition(meta.ReadyCondition)).To(Equal(told))
		g.Expect(o.decision.Hooks).To(ConsistOf(HaveField("Again", BeFalse())))
		g.Expect(o.status.PostHooks[0].StartTime).To(Equal(began))
	}
	o.results[attempt] = &hookstage.Outcome{Pod: &v1alpha1.HookPod{Name: "c", UID: "2"}}
	_, _ = o.round().Post(hookround.WorkEnd{})
	g.Expect(o.condition(meta.ReadyCondition).Message).To(Equal("the postBackup hooks run"))
	o.results[attempt] = &hookstage.Outcome{}
	state, _ := o.round().Post(hookround.WorkEnd{})
	g.Expect(state).To(Equal(hookround.EndedNow))
	g.Expect(o.status.PostHooks[0].Message).To(BeEmpty())
}

// A thaw in all pods reaches those that terminate if the freeze was in all of them.
func TestAHookKnowsThatAnEarlierOneActedInAllPods(t *testing.T) {
	for name, tt := range map[string]struct {
		pre  v1alpha1.HookStrategy
		post string
		want bool
	}{
		"in all":             {v1alpha1.ExecuteOnAll, "app=db", true},
		"in one":             {v1alpha1.ExecuteOnOne, "app=db", false},
		"in all, of another": {v1alpha1.ExecuteOnAll, "app=web", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := withHooks().inPods("app=db", tt.post).are(v1alpha1.HookSucceeded, v1alpha1.HookRunning)
			o.hooks.Pre[0].Executor.Pod.Strategy = tt.pre
			o.hooks.Post[0].Executor.Pod.Strategy = v1alpha1.ExecuteOnAll
			_, _ = o.round().Post(hookround.WorkEnd{})
			g.Expect(o.decision.Hooks).To(ConsistOf(HaveField("InAll", tt.want)))
		})
	}
}

// skipped makes the pre hook have no attempt.
func (o *owner) skipped() *owner {
	o.status.PreHooks[0].Attempts = 0
	return o
}

// function makes the post hook use a Function.
func function(o *owner) *owner {
	o.hooks.Post[0].Function = &v1alpha1.ResolvedFunction{}
	return o
}

// alone leaves only the post hook.
func alone(o *owner) *owner {
	o.hooks.Pre, o.status.PreHooks = nil, nil
	return o
}
