package backup_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
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
