package hookround_test

import (
	"cmp"
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

// starting makes the post hook, the only one, begin so long ago. It is not known how its attempt ended.
func starting(began time.Duration) *owner {
	o := alone(withHooks().are(v1alpha1.HookSucceeded, v1alpha1.HookRunning).finds(began, began))
	o.hooks.Post[0].Executor.Type = v1alpha1.HookExecutorPod
	delete(o.results, hookstage.Attempt{Stage: hookstage.Post, Name: "z", Number: 1})
	return o
}

// after puts another post hook that has ended before that of starting.
func (o *owner) after(phase v1alpha1.HookPhase, attempts int32, selector string) *owner {
	earlier := o.hooks.Post[0]
	earlier.Name, earlier.Executor = "y", v1alpha1.HookExecutor{
		Type: v1alpha1.HookExecutorPod, Pod: &v1alpha1.HookPodExecutor{Selector: selector},
	}
	o.hooks.Post = append([]v1alpha1.ResolvedHook{earlier}, o.hooks.Post...)
	o.status.PostHooks = append([]v1alpha1.HookStatus{{Name: "y", Phase: phase, Attempts: attempts}},
		o.status.PostHooks...)
	return o
}

// webStarts tells a hook that it acts in the pods of a workload that was just scaled up.
func webStarts(*v1alpha1.ResolvedHook) (workloads, unready []string) {
	web := []string{"Deployment/web"}
	return web, web
}

// A restore has just scaled its workload up. A hook that acts in its pods is not made before they are ready.
func TestAPostHookWaitsForPodsThatAreScaledUp(t *testing.T) {
	const succeeded, failed, skipped = v1alpha1.HookSucceeded, v1alpha1.HookFailed, v1alpha1.HookSkipped
	s := time.Second
	edited := func(o *owner, edit func(*v1alpha1.ResolvedHook, *v1alpha1.HookStatus)) *owner {
		edit(&o.hooks.Post[0], &o.status.PostHooks[0])
		return o
	}
	for name, tt := range map[string]struct {
		owner *owner
		ready bool
		none  bool // nothing was scaled up in whose pods it acts
		waits bool
		after time.Duration
	}{
		"it waits":                       {owner: starting(s), waits: true, after: 5 * s},
		"half of its timeout is near":    {owner: starting(28 * s), waits: true, after: 2 * s},
		"half of its timeout has passed": {owner: starting(30 * s)},
		"they are ready":                 {owner: starting(s), ready: true},
		"its pods were not scaled up":    {owner: starting(s), none: true},
		"another hook acted in them":     {owner: starting(s).after(succeeded, 1, "")},
		"another hook could not":         {owner: starting(s).after(failed, 1, "")},
		"another hook was not to":        {owner: starting(s).after(skipped, 0, ""), waits: true, after: 5 * s},
		"another hook acted in other pods": {
			owner: starting(s).after(succeeded, 1, "app=db"), waits: true, after: 5 * s,
		},
		"another hook asked a server": {
			owner: edited(starting(s).after(succeeded, 1, ""), func(h *v1alpha1.ResolvedHook, _ *v1alpha1.HookStatus) {
				h.Executor.Type = v1alpha1.HookExecutorOperator
			}), waits: true, after: 5 * s,
		},
		"it has chosen its pod": {
			owner: edited(starting(s), func(_ *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) {
				st.Pod = &v1alpha1.HookPod{Name: "web-1", UID: "1"}
			}),
		},
		"it was tried before": {
			owner: edited(starting(s), func(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) {
				h.MaxRetry, st.Attempts = 1, 2
			}),
		},
		"its time is not known": {
			owner: edited(starting(s), func(_ *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) {
				st.StartTime = nil
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, r := NewWithT(t), tt.owner.round()
			web := []string{"Deployment/web"}
			r.ScaledUp = func(*v1alpha1.ResolvedHook) (workloads, unready []string) {
				switch {
				case tt.none:
					return nil, nil
				case tt.ready:
					return web, nil
				default:
					return web, web
				}
			}
			state, _ := r.Post(hookround.WorkEnd{})
			g.Expect(state).To(Equal(hookround.UnderWay))
			if !tt.waits {
				g.Expect(tt.owner.decision.Hooks).To(ConsistOf(HaveField("Name", "z")))
				return
			}
			g.Expect(tt.owner.decision.Hooks).To(BeEmpty())
			g.Expect(tt.owner.decision.After).To(Equal(tt.after))
			g.Expect(tt.owner.condition(meta.ReadyCondition)).To(Equal(conditionOf(metav1.ConditionUnknown,
				v1alpha1.ReasonRunning, "waiting: hook z could not begin: the pods of Deployment/web are not ready")))
		})
	}
}

// While this process makes the attempt, pods can get unready, for example by the hook.
func TestAnAttemptUnderWayDoesNotWaitForPodsThatAreScaledUp(t *testing.T) {
	g, o := NewWithT(t), starting(time.Second)
	o.results[hookstage.Attempt{Stage: hookstage.Post, Name: "z", Number: 1}] = &hookstage.Outcome{UnderWay: true}
	r := o.round()
	r.ScaledUp = webStarts
	_, _ = r.Post(hookround.WorkEnd{})
	g.Expect(o.decision.Hooks).To(HaveLen(1))
	g.Expect(o.condition(meta.ReadyCondition).Message).To(Equal("the postBackup hooks run"))
}

// No pod runs, or it listens on no port yet: pods that were scaled up come, and a frozen application is not needed for
// that.
func TestAPostHookThatFoundNoPodThatIsScaledUpWaits(t *testing.T) {
	s := time.Second
	for name, tt := range map[string]struct {
		began        time.Duration
		host, reason string
		none         bool
		begun        bool
		waits        bool
	}{
		"no pod runs":                       {began: 40 * s, waits: true},
		"it does not listen":                {began: 40 * s, reason: v1alpha1.ReasonRequestFailed, waits: true},
		"its timeout has passed":            {began: 60 * s},
		"its pods were not scaled up":       {began: 40 * s, none: true},
		"it asks a server, and no pod runs": {began: 40 * s, host: "chat", waits: true},
		"it asks a server that is away":     {began: 40 * s, host: "chat", reason: v1alpha1.ReasonRequestFailed},
		"it has begun":                      {began: 40 * s, reason: v1alpha1.ReasonRequestFailed, begun: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, o := NewWithT(t), starting(tt.began).finds(s, tt.began)
			out := o.results[hookstage.Attempt{Stage: hookstage.Post, Name: "z", Number: 1}]
			out.At, out.Unbegun = runtest.Now.Add(-s), !tt.begun
			if tt.reason != "" {
				out.Reason = tt.reason
			}
			o.hooks.Post[0].Action = &v1alpha1.HookAction{HTTPGet: &v1alpha1.HookHTTPGetAction{Host: tt.host}}
			r := o.round()
			if !tt.none {
				r.ScaledUp = webStarts
			}
			state, failure := r.Post(hookround.WorkEnd{})
			if tt.waits {
				g.Expect(state).To(Equal(hookround.UnderWay))
				g.Expect(o.status.PostHooks[0]).To(And(HaveField("Phase", v1alpha1.HookRunning),
					HaveField("Message", "waiting: no pod runs"), HaveField("Attempts", int32(1))))
				return
			}
			g.Expect(state).To(Equal(hookround.EndedNow))
			g.Expect(failure).To(Equal("hook z: no pod runs"))
		})
	}
}

// With many hooks that would take hours.
func TestAPostHookDoesNotWaitForPodsThatDidNotComeForAnEarlierOne(t *testing.T) {
	s, other := time.Second, "app=web,tier=front"
	for name, tt := range map[string]struct {
		frozen   bool   // a hook before the work acted, and no workload was scaled up
		selector string // of the earlier hook
		reason   string
		timeout  time.Duration
		acts     []string // the workloads in whose pods the hook may act
		waits    bool
	}{
		"the same pods":                         {},
		"other pods of the workload":            {selector: other},
		"it acts in others, too":                {acts: []string{"Deployment/web", "Deployment/b"}, waits: true},
		"the other waited for less":             {timeout: 59 * s, waits: true},
		"the other failed for another reason":   {reason: v1alpha1.ReasonCommandFailed, waits: true},
		"a thaw, and the same pods":             {frozen: true},
		"a thaw, and other pods":                {frozen: true, selector: other, waits: true},
		"a thaw, and the other waited for less": {frozen: true, timeout: 59 * s, waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, o := NewWithT(t), starting(40*s).after(v1alpha1.HookFailed, 1, tt.selector).finds(s, 40*s)
			o.status.PostHooks[0].Reason = cmp.Or(tt.reason, v1alpha1.ReasonNoRunningPod)
			o.hooks.Post[0].Timeout = &metav1.Duration{Duration: cmp.Or(tt.timeout, time.Minute)}
			r := o.round()
			if tt.frozen {
				before := withHooks().are(v1alpha1.HookSucceeded, "")
				o.hooks.Pre, o.status.PreHooks = before.hooks.Pre, before.status.PreHooks
			} else {
				r.ScaledUp = func(h *v1alpha1.ResolvedHook) (workloads, unready []string) {
					if h.Name == "z" && tt.acts != nil {
						return tt.acts, tt.acts
					}
					return webStarts(h)
				}
			}
			want := map[bool]hookround.State{true: hookround.UnderWay, false: hookround.EndedNow}
			state, _ := r.Post(hookround.WorkEnd{})
			g.Expect(state).To(Equal(want[tt.waits]))
		})
	}
}

// It is made at once, and finds out whether they have come meanwhile.
func TestAPostHookIsMadeWhereAnEarlierOneWaitedInVain(t *testing.T) {
	g, o := NewWithT(t), starting(time.Second).after(v1alpha1.HookFailed, 1, "app=web,tier=front")
	o.status.PostHooks[0].Reason = v1alpha1.ReasonNoRunningPod
	r := o.round()
	r.ScaledUp = webStarts
	_, _ = r.Post(hookround.WorkEnd{})
	g.Expect(o.decision.Hooks).To(ConsistOf(HaveField("Name", "z")))
}
