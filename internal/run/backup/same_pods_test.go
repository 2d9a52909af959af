package backup_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// inPods makes a hook act in pods with these labels.
func inPods(selector string) func(*v1alpha1.ResolvedHook) {
	return func(h *v1alpha1.ResolvedHook) {
		h.Executor = v1alpha1.HookExecutor{
			Type: v1alpha1.HookExecutorPod, Pod: &v1alpha1.HookPodExecutor{Selector: selector},
		}
	}
}

// freezing returns a hook before and one after the work in pods with these labels.
func freezing(pre, post string) *v1alpha1.ResolvedHooks {
	return &v1alpha1.ResolvedHooks{
		Pre:  []v1alpha1.ResolvedHook{resolvedHook("freeze", inPods(pre))},
		Post: []v1alpha1.ResolvedHook{resolvedHook("thaw", inPods(post))},
	}
}

// freezingTarget returns a claim as a target that such hooks are around.
func freezingTarget(name string, hooks *v1alpha1.ResolvedHooks) v1alpha1.ResolvedTarget {
	t := runtest.Target(name, "target")
	t.AppRef = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: name}
	t.Hooks = hooks
	return t
}

// A drain evicts the frozen pod and the mover. The second attempt reads what a pod writes that nobody froze.
func TestABackupWhoseFrozenPodWasReplacedIsPartial(t *testing.T) {
	first, second := v1alpha1.HookPod{Name: "db-0", UID: "1"}, v1alpha1.HookPod{Name: "db-0", UID: "2"}
	ran := v1alpha1.HookPod{Name: "db-0", UID: "1", Container: "db", ContainerID: "a"}
	again, beside := ran, ran
	again.ContainerID, beside.Container, beside.ContainerID = "b", "tools", "c"
	replaced := "a: the frozen pod was replaced: hook freeze acted in pod db-0, and hook thaw in a later or other " +
		"pod db-0; what was read between them may be torn"
	restarted := "a: the frozen pod is still there, but its container was restarted: hook freeze acted in container " +
		"db of pod db-0 before that, and hook thaw after it; what was read between them may be torn"
	ends := ran
	ends.Since = new(metav1.NewTime(runtest.Now))
	ended := "a: the frozen pod terminated: hook freeze acted in pod db-0 before that, and hook thaw while it shut " +
		"down; what was read between them may be torn"
	asIs := func(*v1alpha1.ResolvedTarget) {}
	copied := func(t *v1alpha1.ResolvedTarget) {
		t.Hosts[0].Volumes[0].ClaimName = "data"
		t.Copies = []v1alpha1.ResolvedCopy{{ClaimName: "data", Name: "copy"}}
	}
	for name, tt := range map[string]struct {
		post    string
		frozen  v1alpha1.HookPod
		thawed  v1alpha1.HookPod
		target  func(*v1alpha1.ResolvedTarget)
		ofRun   bool
		partial string
	}{
		"hooks of the run":      {"app=db", first, second, asIs, true, replaced},
		"hooks of the target":   {"app=db", first, second, asIs, false, replaced},
		"the same pod":          {"app=db", first, first, asIs, true, ""},
		"another selection":     {"app=web", first, second, asIs, true, ""},
		"a copy holds the data": {"app=db", first, second, copied, true, ""},
		"the storage holds it": {"app=db", first, second, func(t *v1alpha1.ResolvedTarget) {
			t.Task.Driver = v1alpha1.DriverVolumeSnapshotter
		}, true, ""},
		"the container started again":                   {"app=db", ran, again, asIs, true, restarted},
		"the container started again, of the target":    {"app=db", ran, again, asIs, false, restarted},
		"the same container":                            {"app=db", ran, ran, asIs, true, ""},
		"another container of the pod":                  {"app=db", ran, beside, asIs, true, ""},
		"an earlier version wrote down the frozen one":  {"app=db", first, again, asIs, true, ""},
		"a copy is from before the container ended":     {"app=db", ran, again, copied, true, ""},
		"it terminates while it is thawed":              {"app=db", ran, ends, asIs, true, ended},
		"it terminates while it is thawed, of a target": {"app=db", ran, ends, asIs, false, ended},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "pod-0"))
			hooks := freezing("app=db", tt.post)
			h := attempting(f)
			if tt.ofRun {
				f.session.Status.Resolved.Hooks = hooks
			} else {
				f.session.Status.Resolved.Targets[0].Hooks = hooks
			}
			h.outcome = choosing(map[string]v1alpha1.HookPod{"freeze": tt.frozen, "thaw": tt.thawed})
			h.mover = func(m backup.Mover) run.Job {
				if m.Attempt == 1 {
					return runtest.Died(v1alpha1.ReasonNodeLost, true)
				}
				return runtest.Succeeded("pod-0")
			}
			thawing := func() bool {
				hooks := h.session.Status.Hooks
				if !tt.ofRun {
					hooks = h.session.Status.Targets[0].Hooks
				}
				return hooks != nil && len(hooks.PostHooks) > 0
			}
			for range 20 {
				if h.at = h.at.Add(time.Second); !thawing() {
					h.look()
				}
			}
			g.Expect(thawing()).To(BeTrue())
			tt.target(&h.session.Status.Resolved.Targets[0]) // It matters from here on.
			ended := h.settle(g)
			s := h.session
			g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonSucceeded))
			g.Expect(h.made).To(ContainElement("thaw#1"))
			event := run.Event{Type: corev1.EventTypeNormal, Reason: v1alpha1.ReasonSucceeded, Message: "backed up a"}
			if tt.partial != "" {
				event = run.Event{
					Type: corev1.EventTypeWarning, Reason: v1alpha1.ReasonPartial,
					Message: "backed up a. " + tt.partial,
				}
			}
			g.Expect(ended.Event).To(HaveValue(Equal(event)))
			g.Expect(conditions.IsTrue(s, v1alpha1.ConditionPartial)).To(Equal(tt.partial != ""))
			g.Expect(conditions.GetMessage(s, v1alpha1.ConditionPartial)).To(Equal(tt.partial))
		})
	}
}

// The first thaw finds the frozen container, so nothing happened before. It can end that container itself.
func TestTheFirstHookAfterTheWorkTellsWhetherTheFrozenPodLived(t *testing.T) {
	in := func(uid types.UID, container string) v1alpha1.HookPod {
		return v1alpha1.HookPod{Name: "db-0", UID: uid, Container: "db", ContainerID: container}
	}
	ends := func(pod v1alpha1.HookPod) v1alpha1.HookPod {
		pod.Since = new(metav1.NewTime(runtest.Now))
		return pod
	}
	for name, tt := range map[string]struct {
		thaw, tell v1alpha1.HookPod
		partial    bool
	}{
		"the container ended after it":  {in("1", "a"), in("1", "b"), false},
		"the pod ended after it":        {in("1", "a"), in("2", "b"), false},
		"it does not tell":              {v1alpha1.HookPod{Name: "db-0", UID: "1"}, in("1", "b"), true},
		"the pod terminated before it":  {ends(in("1", "a")), ends(in("1", "a")), true},
		"the pod terminates after it":   {in("1", "a"), ends(in("1", "a")), false},
		"the container ended before it": {in("1", "b"), in("1", "b"), true},
		"the pod ended before it":       {in("2", "b"), in("2", "b"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			h := attempting(frozen(runtest.Target("a", "pod-0")))
			hooks := freezing("app=db", "app=db")
			hooks.Post = append(hooks.Post, resolvedHook("tell", inPods("app=db")))
			h.session.Status.Resolved.Hooks = hooks
			h.outcome = choosing(map[string]v1alpha1.HookPod{
				"freeze": in("1", "a"), "thaw": tt.thaw, "tell": tt.tell,
			})
			h.settle(g)
			g.Expect(h.session.Status.Reason).To(Equal(v1alpha1.ReasonSucceeded))
			g.Expect(conditions.IsTrue(h.session, v1alpha1.ConditionPartial)).To(Equal(tt.partial))
		})
	}
}

// The CRDs can be those of an earlier version, which do not have the container.
func TestAHookActsAlthoughTheAPIServerDropsItsContainer(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozen(runtest.Target("a", "pod-0")))
	h.session.Status.Resolved.Hooks = freezing("app=db", "app=db")
	db := v1alpha1.HookPod{Name: "db-0", UID: "1", Container: "db", ContainerID: "a"}
	h.outcome = choosing(map[string]v1alpha1.HookPod{"freeze": db, "thaw": db})
	for range 50 {
		h.at = h.at.Add(time.Second)
		h.look()
		if hooks := h.session.Status.Hooks; hooks != nil {
			for _, st := range slices.Concat(hooks.PreHooks, hooks.PostHooks) {
				if st.Pod != nil {
					*st.Pod = v1alpha1.HookPod{Name: st.Pod.Name, UID: st.Pod.UID}
				}
			}
		}
	}
	g.Expect(h.session.Status.Reason).To(Equal(v1alpha1.ReasonSucceeded))
	g.Expect(conditions.Has(h.session, v1alpha1.ConditionPartial)).To(BeFalse())
}

// A backup that failed says why, and holds nothing that could be torn.
func TestAReplacedPodIsNoMatterWhereNothingWasBackedUp(t *testing.T) {
	g := NewWithT(t)
	h := attempting(frozen(runtest.Target("a", "pod-0")))
	h.session.Status.Resolved.Hooks = freezing("app=db", "app=db")
	h.outcome = choosing(map[string]v1alpha1.HookPod{
		"freeze": {Name: "db", UID: "1"}, "thaw": {Name: "db", UID: "2"},
	})
	h.mover = func(backup.Mover) run.Job { return runtest.Failed(v1alpha1.ReasonUnreadable) }
	h.settle(g)
	g.Expect(h.session.Status.Phase).To(Equal(backupFailed))
	g.Expect(conditions.Has(h.session, v1alpha1.ConditionPartial)).To(BeFalse())
}

// choosing makes hooks choose these pods, and then succeed.
func choosing(pods map[string]v1alpha1.HookPod) func(string, int32) *hookstage.Outcome {
	chosen := map[string]bool{}
	return func(name string, _ int32) *hookstage.Outcome {
		if chosen[name] {
			return nil
		}
		chosen[name] = true
		return &hookstage.Outcome{Pod: new(pods[name])}
	}
}

// Two claims of one database have a policy each, and each freezes the same pod.
func TestRunsThatFreezeOnePodFollowEachOther(t *testing.T) {
	param := func(value string, hooks *v1alpha1.ResolvedHooks) *v1alpha1.ResolvedHooks {
		for _, list := range [][]v1alpha1.ResolvedHook{hooks.Pre, hooks.Post} {
			for i := range list {
				list[i].Values = []v1alpha1.HookValue{{Name: "app", Value: value}}
			}
		}
		return hooks
	}
	only := func(pre, post bool) *v1alpha1.ResolvedHooks {
		hooks := freezing("app=db", "app=db")
		if !pre {
			hooks.Pre = nil
		}
		if !post {
			hooks.Post = nil
		}
		return hooks
	}
	ofApp := func() *v1alpha1.ResolvedHooks { return freezing("app=${app}", "app=${app}") }
	owned := func(kind string) *v1alpha1.ResolvedHooks {
		hooks := freezing("", "")
		for _, h := range []*v1alpha1.ResolvedHook{&hooks.Pre[0], &hooks.Post[0]} {
			h.Executor.Pod.Owner = &v1alpha1.HookPodOwner{Kind: kind, Name: "db"}
		}
		return hooks
	}
	for name, tt := range map[string]struct {
		first, second *v1alpha1.ResolvedHooks
		shares        bool
	}{
		"one selector":           {freezing("app=db", "app=db"), freezing("app=db", "app=db"), true},
		"in another order":       {freezing("app=db,a=b", "app=db,a=b"), freezing("a=b, app=db", "a=b, app=db"), true},
		"another selector":       {freezing("app=db", "app=db"), freezing("app=web", "app=web"), false},
		"one template, one app":  {param("db", ofApp()), freezing("app=db", "app=db"), true},
		"one template, two apps": {param("db", ofApp()), param("web", ofApp()), false},
		"one owner":              {owned("StatefulSet"), owned("StatefulSet"), true},
		"another owner":          {owned("StatefulSet"), owned("DaemonSet"), false},
		"the pods of the target": {freezing("", ""), freezing("", ""), false},
		"a thaw alone":           {only(true, true), only(false, true), true},
		"messages before it":     {only(true, false), only(true, false), false},
		"messages after it":      {only(false, true), only(false, true), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			starts := func(name string, hooks *v1alpha1.ResolvedHooks) map[string]backup.Start {
				return map[string]backup.Start{
					"run": {Hooks: hooks, Targets: []backup.StartTarget{{Resolved: freezingTarget(name, nil)}}},
					"own": {Targets: []backup.StartTarget{{Resolved: freezingTarget(name, hooks)}}},
				}
			}
			for of, first := range starts("data", tt.first) {
				list := []v1alpha1.BackupSession{*frozenAs(first).session}
				for by, second := range starts("wal", tt.second) {
					g.Expect(second.SharesHooks(list) != nil).To(Equal(tt.shares), fmt.Sprint(of, " and ", by))
				}
			}
		})
	}
}

// A target whose hooks thaw the pod of another one waits for it. Targets beside them do not.
func TestTargetsThatFreezeOnePodFollowEachOther(t *testing.T) {
	g := NewWithT(t)
	db := func(name string) v1alpha1.ResolvedTarget { return freezingTarget(name, freezing("app=db", "app=db")) }
	f := frozen(db("data"), db("wal"), freezingTarget("web", freezing("app=web", "app=web")), db("log"))
	h := attempting(f)
	pending := func() (out []string) {
		for _, t := range h.session.Status.Targets {
			if t.Phase == backupPending {
				out = append(out, t.Name)
			}
		}
		return out
	}
	g.Expect(pending()).To(Equal([]string{"wal", "log"}))
	h.settle(g)
	g.Expect(h.session.Status.Reason).To(Equal(v1alpha1.ReasonSucceeded))
	var ends []time.Time
	for _, name := range []int{0, 1, 3} {
		t := h.session.Status.Targets[name]
		g.Expect(t.Phase).To(Equal(backupSucceeded))
		if len(ends) > 0 {
			g.Expect(t.StartTime.Time).NotTo(BeTemporally("<", ends[len(ends)-1]), t.Name)
		}
		ends = append(ends, t.CompletionTime.Time)
	}
}
