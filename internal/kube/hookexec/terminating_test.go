package hookexec_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A rollout or a drain ends a frozen pod. Its containers run on for the grace period, and a file system that it froze
// stays frozen. "b" is the frozen pod, and "c" is the one that takes its place.
func TestAFrozenPodIsThawedWhileItTerminates(t *testing.T) {
	all := &v1alpha1.HookPodExecutor{Selector: "app=db", Strategy: v1alpha1.ExecuteOnAll}
	for name, tt := range map[string]struct {
		stage   hookstage.Stage
		alone   bool
		all     bool
		unknown bool // no earlier hook acted in the pods
		gone    bool // nothing answers in the frozen pod
		over    bool // its container has ended
		want    string
		reason  string
		unbegun bool
	}{
		"a StatefulSet of one":           {alone: true, want: "b"},
		"a rolling update":               {want: "b"},
		"nobody answers in it any more":  {gone: true, want: "c"},
		"nobody answers, alone":          {gone: true, alone: true, reason: "RequestFailed", unbegun: true},
		"its container has ended":        {over: true, want: "c"},
		"its container has ended, alone": {over: true, alone: true, reason: "NoRunningPod", unbegun: true},
		"it isn't the frozen one":        {unknown: true, want: "c"},
		"a freeze does not begin in it":  {stage: hookstage.Pre, want: "c"},
		"all":                            {all: true, want: "bc"},
		"all, alone":                     {all: true, alone: true, want: "b"},
		"all, and nobody answers in it":  {all: true, gone: true, want: "c"},
		"all, and nobody answers":        {all: true, gone: true, alone: true, reason: "RequestFailed", unbegun: true},
		"all, its container has ended":   {all: true, over: true, want: "c"},
		"all, none of them frozen":       {all: true, unknown: true, want: "c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			namespace := bed.Namespace(t, nil)
			allow(t, namespace)
			servers := map[string]*server{"b": serve(t, status(200))}
			if !tt.alone {
				servers["c"] = serve(t, status(200))
			}
			for pod, s := range servers {
				makePod(t, namespace, pod, true, func(p *corev1.Pod) {
					p.Spec.Containers[0].Ports[0].ContainerPort, p.Spec.NodeName = s.port.IntVal, "node"
				})
			}
			b := terminate(t, namespace, "b", tt.over)
			if tt.gone {
				servers["b"].Close()
			}
			run := operator(v1alpha1.HookAction{
				ContainerName: "db", HTTPGet: &v1alpha1.HookHTTPGetAction{Port: intstr.FromString("admin")},
			}, inPods(&v1alpha1.HookPodExecutor{Selector: "app=db"}))
			if tt.all {
				run.Hook.Executor.Pod = all
			}
			if tt.stage != "" {
				run.Stage, run.Hook.Template = tt.stage, v1alpha1.ObjectReference{Namespace: namespace, Name: "deleted"}
			}
			if run.InAll = tt.all && !tt.unknown; !tt.all && !tt.unknown {
				run.Former = []v1alpha1.HookPod{b}
			}
			var out hookstage.Outcome
			g.Eventually(func() string {
				out = actWhereChosen(t, namespace, run)
				return out.Reason
			}).WithTimeout(testbed.Patience).Should(Equal(tt.reason), "the RoleBinding must take effect")
			g.Expect(out.Unbegun).To(Equal(tt.unbegun), out.Message)
			g.Expect(met(servers)).To(Equal(tt.want))
		})
	}
}

// A command or request that a pod got counts, even if it terminates: what a thaw has begun is not begun elsewhere.
func TestWhatAPodThatTerminatesRefusedCounts(t *testing.T) {
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	allow(t, namespace)
	servers := map[string]*server{"b": serve(t, status(500)), "c": serve(t, status(200))}
	for pod, s := range servers {
		makePod(t, namespace, pod, true, func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports[0].ContainerPort, p.Spec.NodeName = s.port.IntVal, "node"
		})
	}
	run := operator(v1alpha1.HookAction{
		ContainerName: "db", HTTPGet: &v1alpha1.HookHTTPGetAction{Port: intstr.FromString("admin")},
	}, inPods(&v1alpha1.HookPodExecutor{Selector: "app=db"}))
	run.Former = []v1alpha1.HookPod{terminate(t, namespace, "b", false)}
	var out hookstage.Outcome
	refused := func() string {
		out = actWhereChosen(t, namespace, run)
		return out.Reason
	}
	g.Eventually(refused).WithTimeout(testbed.Patience).
		Should(Equal(v1alpha1.ReasonRequestFailed), "the RoleBinding must take effect")
	g.Expect(out.Unbegun).To(BeFalse())
	g.Expect(met(servers)).To(Equal("b"))

	run.Former, run.InAll, run.Hook.Executor.Pod.Strategy = nil, true, v1alpha1.ExecuteOnAll
	g.Expect(refused()).To(Equal(v1alpha1.ReasonRequestFailed))
	g.Expect(out.Unbegun).To(BeFalse())
	terminate(t, namespace, "b", true)
	servers["c"].Close()
	g.Expect(refused()).To(Equal(v1alpha1.ReasonRequestFailed))
	g.Expect(out.Unbegun).To(BeTrue(), "nothing has begun in c, and b is over")
}

// A namespace that goes gets no pods any more, and its deletion must not wait for a hook.
func TestNothingIsAwaitedInANamespaceThatGoes(t *testing.T) {
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	allow(t, namespace)
	run := operator(v1alpha1.HookAction{
		HTTPGet: &v1alpha1.HookHTTPGetAction{Port: intstr.FromInt32(80)},
	}, inPods(&v1alpha1.HookPodExecutor{Selector: "app=db"}))
	var out hookstage.Outcome
	g.Eventually(func() string {
		out = executor().Execute(t.Context(), namespace, run)
		return out.Reason
	}).WithTimeout(testbed.Patience).Should(Equal(v1alpha1.ReasonNoRunningPod), "the RoleBinding must take effect")
	g.Expect(out.Unbegun).To(BeTrue())
	ns := &corev1.Namespace{}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Name: namespace}, ns)).To(Succeed())
	g.Expect(bed.Client.Delete(t.Context(), ns)).To(Succeed())
	out = executor().Execute(t.Context(), namespace, run)
	g.Expect(out.Reason).To(Equal(v1alpha1.ReasonNoRunningPod))
	g.Expect(out.Unbegun).To(BeFalse())
}

// actWhereChosen makes an attempt, in the pods that it chooses one after the other.
func actWhereChosen(t *testing.T, namespace string, run hookstage.Run) hookstage.Outcome {
	t.Helper()
	for range 3 {
		out := executor().Execute(t.Context(), namespace, run)
		if out.Pod == nil {
			return out
		}
		run.Pod = out.Pod
	}
	t.Fatal("it does not settle for a pod")
	return hookstage.Outcome{}
}

// terminate deletes a pod, whose grace period is long, and returns it. over means that its container has ended.
func terminate(t *testing.T, namespace, name string, over bool) v1alpha1.HookPod {
	t.Helper()
	g := NewWithT(t)
	p := &corev1.Pod{}
	key := client.ObjectKey{Namespace: namespace, Name: name}
	g.Expect(bed.Client.Get(t.Context(), key, p)).To(Succeed())
	if over {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{
			{Name: "db", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
		}
		g.Expect(bed.Client.Status().Update(t.Context(), p)).To(Succeed())
	}
	grace := client.GracePeriodSeconds(time.Hour / time.Second)
	g.Expect(bed.Client.Delete(t.Context(), p, grace)).To(Succeed())
	g.Expect(bed.Client.Get(t.Context(), key, p)).To(Succeed())
	g.Expect(p.DeletionTimestamp).NotTo(BeNil())
	return v1alpha1.HookPod{Name: name, UID: p.UID}
}

// met returns the pods whose servers got a request.
func met(servers map[string]*server) (pods string) {
	for _, pod := range []string{"b", "c"} {
		if s := servers[pod]; s != nil && len(s.asked) > 0 {
			pods += pod
		}
	}
	return pods
}
