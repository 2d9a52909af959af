package hookround_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// inPods makes both hooks act in one pod that they choose with these selectors.
func (o *owner) inPods(pre, post string) *owner {
	for h, selector := range map[*v1alpha1.ResolvedHook]string{&o.hooks.Pre[0]: pre, &o.hooks.Post[0]: post} {
		h.Executor = v1alpha1.HookExecutor{
			Type: v1alpha1.HookExecutorPod, Pod: &v1alpha1.HookPodExecutor{Selector: selector},
		}
	}
	return o
}

// chooses makes the running attempt of a hook choose a pod.
func (o *owner) chooses(stage hookstage.Stage, name string, number int32, pod v1alpha1.HookPod) {
	o.results[hookstage.Attempt{Stage: stage, Name: name, Number: number}] = &hookstage.Outcome{Pod: &pod}
}

func TestThePodOfAHookIsWrittenBeforeItActs(t *testing.T) {
	g, o := NewWithT(t), withHooks().inPods("app=db", "app=db").retries().are(v1alpha1.HookRunning, "")
	b, c := v1alpha1.HookPod{Name: "b", UID: "1"}, v1alpha1.HookPod{Name: "c", UID: "2"}
	pre := func() []hookstage.Run {
		o.decision.Hooks = nil
		state, _ := o.round().Pre("", true)
		g.Expect(state).To(Equal(hookround.UnderWay))
		return o.decision.Hooks
	}
	g.Expect(pre()).To(ConsistOf(HaveField("Pod", BeNil())), "it has to choose")
	o.chooses(hookstage.Pre, "a", 1, b)
	g.Expect(pre()).To(BeEmpty(), "it is not made before the pod is written")
	g.Expect(o.status.PreHooks[0].Pod).To(HaveValue(Equal(b)))
	g.Expect(o.decision.After).To(BeNumerically("<=", time.Second))
	g.Expect(pre()).To(ConsistOf(HaveField("Pod", HaveValue(Equal(b)))))
	o.chooses(hookstage.Pre, "a", 1, c)
	g.Expect(pre()).To(BeEmpty(), "b is gone")
	g.Expect(pre()).To(ConsistOf(HaveField("Pod", HaveValue(Equal(c)))))

	o.ends(hookstage.Pre, "Bad")
	g.Expect(pre()).To(BeEmpty(), "it waits for the next attempt")
	g.Expect(o.status.PreHooks[0].Pod).To(HaveValue(Equal(c)), "the next attempt acts in the same pod")
}

// A hook that has only chosen its pod has done nothing that must end before the thaw.
func TestAHookThatHasNotActedIsStoppedAtOnce(t *testing.T) {
	g, o := NewWithT(t), withHooks().inPods("app=db", "app=db").are(v1alpha1.HookRunning, "").began(time.Second)
	o.chooses(hookstage.Pre, "a", 1, v1alpha1.HookPod{Name: "b", UID: "1"})
	state, failures := o.round().Pre("Cancelled", true)
	g.Expect(state).To(Equal(hookround.EndedNow))
	g.Expect(failures).To(Equal("hook a: the hook was stopped"))
}

func TestLaterHooksKnowThePodsOfEarlierOnes(t *testing.T) {
	b := v1alpha1.HookPod{Name: "b", UID: "1"}
	for name, tt := range map[string]struct {
		pre, post, app string
		want           []v1alpha1.HookPod
	}{
		"the same selection":   {"app=db", "app=db", "", []v1alpha1.HookPod{b}},
		"another selection":    {"app=db", "app=web", "", nil},
		"the same parameters":  {"app=${app}", "app=${app}", "db", []v1alpha1.HookPod{b}},
		"different parameters": {"app=${app}", "app=${app}", "web", nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := withHooks().inPods(tt.pre, tt.post).are(v1alpha1.HookSucceeded, v1alpha1.HookRunning)
			o.hooks.Pre[0].Values = []v1alpha1.HookValue{{Name: "app", Value: "db"}}
			o.hooks.Post[0].Values = []v1alpha1.HookValue{{Name: "app", Value: tt.app}}
			o.status.PreHooks[0].Pod = &b
			_, _ = o.round().Post(hookround.WorkEnd{})
			g.Expect(o.decision.Hooks).To(HaveLen(1))
			g.Expect(o.decision.Hooks[0].Pod).To(BeNil())
			g.Expect(o.decision.Hooks[0].Former).To(Equal(tt.want))
		})
	}
}
