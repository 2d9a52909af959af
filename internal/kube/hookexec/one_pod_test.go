package hookexec_test

import (
	"context"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A pod that was frozen can miss some probes and be ready again. Then its condition no longer tells that it was ready
// when the run began, but it is still the one to thaw.
func TestAHookActsInThePodOfAnEarlierOne(t *testing.T) {
	namespace := bed.Namespace(t, nil)
	allow(t, namespace)
	since := time.Now().Add(time.Minute).Truncate(time.Second) // after the pods were made
	servers, uids := map[string]*server{}, map[string]types.UID{}
	for name, at := range map[string]time.Duration{"b": 5 * time.Second, "c": -time.Second} {
		s := serve(t, status(200))
		servers[name] = s
		makePod(t, namespace, name, false, func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports[0].ContainerPort = s.port.IntVal
		})
		isNow(t, namespace, name, corev1.PodCondition{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since.Add(at)),
		})
		var p corev1.Pod
		NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &p)).
			To(Succeed())
		uids[name] = p.UID
	}
	b, other := v1alpha1.HookPod{Name: "b", UID: uids["b"]}, v1alpha1.HookPod{Name: "b", UID: "of an earlier pod"}
	gone := v1alpha1.HookPod{Name: "a", UID: "1"}
	for name, tt := range map[string]struct {
		own    *v1alpha1.HookPod
		former []v1alpha1.HookPod
		want   string
	}{
		"nobody knows the pod":              {want: "c"},
		"an earlier hook acted in it":       {former: []v1alpha1.HookPod{b}, want: "b"},
		"an earlier attempt acted in it":    {own: &b, want: "b"},
		"the pod was made again":            {own: &other, former: []v1alpha1.HookPod{other}, want: "c"},
		"the pod of the first hook is gone": {own: &gone, former: []v1alpha1.HookPod{gone, b}, want: "b"},
	} {
		for _, stage := range []hookstage.Stage{hookstage.Pre, hookstage.Post} {
			t.Run(name+" "+string(stage), func(t *testing.T) {
				NewWithT(t).Expect(podAsked(t, namespace, stage, since, servers, func(r *hookstage.Run) {
					r.Pod, r.Former = tt.own, tt.former
				})).To(Equal(tt.want))
			})
		}
	}
}

func TestNothingHappensInAPodBeforeTheStatusHasIt(t *testing.T) {
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	allow(t, namespace)
	s := serve(t, status(200))
	makePod(t, namespace, "db-0", true, func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports[0].ContainerPort = s.port.IntVal
	})
	run := operator(v1alpha1.HookAction{
		ContainerName: "db", HTTPGet: &v1alpha1.HookHTTPGetAction{Port: intstr.FromString("admin")},
	}, inPods(&v1alpha1.HookPodExecutor{Selector: "app=db"}))
	g.Eventually(func() *v1alpha1.HookPod { return executor().Execute(t.Context(), namespace, run).Pod }).
		WithTimeout(testbed.Patience).ShouldNot(BeNil(), "the RoleBinding must take effect")

	hooks := &hookexec.Hooks{Runner: hookexec.NewRunner(clock.RealClock{}), Executor: executor()}
	owner := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "run", UID: "1"}}
	began := 0
	carryOut := func() {
		g.Expect(hooks.CarryOut(t.Context(), owner, []hookstage.Run{run}, nil,
			func(context.Context, client.Object) error { began++; return nil })).To(Succeed())
	}
	carryOut()
	g.Eventually(hooks.Ended()).WithTimeout(testbed.Patience).Should(Receive())
	out := hooks.Results("1")(run.Attempt)
	g.Expect(out).To(HaveValue(HaveField("Pod", HaveValue(HaveField("Name", "db-0")))))
	carryOut()
	g.Expect(began).To(Equal(1), "the status does not have the pod yet")
	g.Expect(s.asked).To(BeEmpty())

	run.Pod = out.Pod
	carryOut()
	g.Eventually(hooks.Ended()).WithTimeout(testbed.Patience).Should(Receive())
	g.Expect(hooks.Results("1")(run.Attempt)).To(HaveValue(Equal(hookstage.Outcome{})))
	carryOut()
	g.Expect(began).To(Equal(2), "the attempt has been made")
	g.Expect(s.asked).To(HaveLen(1))
}

// The liveness probe, the OOM killer or a reboot ends the frozen container, and it starts again in its pod.
func TestTheStatusTellsThatTheContainerOfAHookWasStartedAgain(t *testing.T) {
	namespace := bed.Namespace(t, nil)
	allow(t, namespace)
	at := metav1.NewTime(time.Now().Truncate(time.Second))
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}
	ended := func(id string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: id, FinishedAt: at}}
	}
	first, second := "containerd://0123456789abcdef0", "containerd://second"
	frozen := v1alpha1.HookPod{Container: "db", ContainerID: "0123456789abcdef"}
	again := v1alpha1.HookPod{Container: "db", ContainerID: "second"}
	elsewhere := v1alpha1.HookPod{Name: "gone", UID: "1"}
	for name, tt := range map[string]struct {
		id          string
		state, last corev1.ContainerState
		stage       hookstage.Stage
		own         *v1alpha1.HookPod
		former      *v1alpha1.HookPod
		host        string
		want        *v1alpha1.HookPod // nil: it acts
		since       string
	}{
		"a freeze":                  {id: first, state: running, stage: hookstage.Pre, want: &frozen},
		"it was chosen":             {id: first, state: running, stage: hookstage.Pre, own: &frozen},
		"it started again since":    {id: second, state: running, stage: hookstage.Pre, own: &frozen, want: &again},
		"it does not run":           {id: first, state: ended(first), stage: hookstage.Pre, want: &v1alpha1.HookPod{}},
		"it did not run":            {id: second, state: running, own: &v1alpha1.HookPod{}, want: &again},
		"a request to another host": {id: first, state: running, host: "127.0.0.1", want: &v1alpha1.HookPod{}},
		"the thaw":                  {id: first, state: running, former: &frozen, want: &frozen},
		"the thaw has found it":     {id: second, state: running, own: &frozen, former: &frozen},
		"the thaw finds another one": {
			id: second, state: running, last: ended(first), former: &frozen, want: &again, since: "end",
		},
		"it started again twice": {
			id: second, state: running, last: ended("x"), former: &frozen, want: &again, since: "pod",
		},
		"nobody knows when it ended": {id: second, state: running, former: &frozen, want: &again, since: "pod"},
		"another pod was frozen":     {id: first, state: running, former: &elsewhere, want: &frozen, since: "grace"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := serve(t, status(200))
			pod := strings.ReplaceAll(name, " ", "-")
			makePod(t, namespace, pod, true, func(p *corev1.Pod) {
				p.Labels["app"], p.Spec.Containers[0].Ports[0].ContainerPort = pod, s.port.IntVal
			})
			p := &corev1.Pod{}
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: pod}, p)).To(Succeed())
			p.Status.ContainerStatuses = []corev1.ContainerStatus{
				{Name: "db", ContainerID: tt.id, State: tt.state, LastTerminationState: tt.last},
			}
			g.Expect(bed.Client.Status().Update(t.Context(), p)).To(Succeed())
			in := func(known *v1alpha1.HookPod) *v1alpha1.HookPod {
				if known == nil || known.Name != "" {
					return known
				}
				out := *known
				out.Name, out.UID = p.Name, p.UID
				return &out
			}
			run := operator(v1alpha1.HookAction{HTTPGet: &v1alpha1.HookHTTPGetAction{Host: tt.host, Port: s.port}},
				inPods(&v1alpha1.HookPodExecutor{Selector: "app=" + pod}))
			if tt.stage != "" {
				run.Stage, run.Hook.Template = tt.stage, v1alpha1.ObjectReference{Namespace: namespace, Name: "deleted"}
			}
			if run.Pod = in(tt.own); tt.former != nil {
				run.Former = []v1alpha1.HookPod{*in(tt.former)}
			}
			want := in(tt.want)
			switch tt.since {
			case "end":
				want.Since = &at
			case "pod":
				want.Since = &p.CreationTimestamp
			case "grace":
				want.Since = new(metav1.NewTime(p.CreationTimestamp.Add(-30 * time.Second)))
			}
			var out hookstage.Outcome
			g.Eventually(func() string {
				out = executor().Execute(t.Context(), namespace, run)
				return out.Reason
			}).WithTimeout(testbed.Patience).Should(BeEmpty(), "the RoleBinding must take effect")
			g.Expect(out.Pod).To(BeComparableTo(want))
			g.Expect(s.asked).To(HaveLen(map[bool]int{true: 1}[want == nil]))
		})
	}
}
