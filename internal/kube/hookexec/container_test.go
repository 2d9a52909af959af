package hookexec

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// The pod runs on for its grace period while one of its containers has ended.
func TestTheContainerOfAnActionIsOver(t *testing.T) {
	command := &v1alpha1.HookExecAction{Command: []string{"thaw"}}
	get, elsewhere := &v1alpha1.HookHTTPGetAction{}, &v1alpha1.HookHTTPGetAction{Host: "db.example.org"}
	on := func(name string) v1alpha1.HookAction { return v1alpha1.HookAction{Exec: command, ContainerName: name} }
	for name, tt := range map[string]struct {
		action v1alpha1.HookAction
		ended  string
		want   bool
	}{
		"the first one":                  {on(""), "db", true},
		"only a native sidecar":          {on("db"), "proxy", false},
		"the native sidecar":             {on("proxy"), "proxy", true},
		"nothing":                        {on("proxy"), "", false},
		"none that the pod has":          {on("web"), "db", false},
		"the native sidecar of a port":   {v1alpha1.HookAction{HTTPGet: get, ContainerName: "proxy"}, "proxy", true},
		"one, and a port is of any":      {v1alpha1.HookAction{HTTPGet: get}, "db", false},
		"one, and the request leaves it": {v1alpha1.HookAction{HTTPGet: elsewhere, ContainerName: "db"}, "db", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statusOf := func(name string) []corev1.ContainerStatus {
				s := corev1.ContainerStatus{Name: name}
				if name == tt.ended {
					s.State.Terminated = &corev1.ContainerStateTerminated{}
				}
				return []corev1.ContainerStatus{s}
			}
			p := &corev1.Pod{
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "db"}},
					InitContainers: []corev1.Container{
						{Name: "proxy", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)},
					},
				},
				Status: corev1.PodStatus{
					ContainerStatuses: statusOf("db"), InitContainerStatuses: statusOf("proxy"),
				},
			}
			NewWithT(t).Expect(over(p, &tt.action)).To(Equal(tt.want))
		})
	}
}

// "a" was frozen at the start. It was told to end after 20 minutes, and may run on for 2 more. The hook after the work
// comes after 21.
func TestTheStatusTellsSinceWhenNothingIsFrozenAnyMore(t *testing.T) {
	began := time.Now().Truncate(time.Second)
	after := func(d time.Duration) metav1.Time { return metav1.NewTime(began.Add(d)) }
	pod := func(name string, made time.Duration, edit ...func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: after(made)},
			Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "db"}}, TerminationGracePeriodSeconds: new(int64(120)),
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
				Name: "db", ContainerID: "containerd://" + name,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}}},
		}
		for _, e := range edit {
			e(&p)
		}
		return p
	}
	ends := func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = new(after(22*time.Minute)), new(int64(120))
	}
	restarted := func(p *corev1.Pod) {
		s := &p.Status.ContainerStatuses[0]
		s.ContainerID = "containerd://again"
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			ContainerID: "containerd://second", FinishedAt: after(10 * time.Minute),
		}
	}
	fails := func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }
	waits := func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }
	bare := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
	frozen := func(id string) v1alpha1.HookPod {
		return v1alpha1.HookPod{Name: "a", UID: "a", Container: "db", ContainerID: id}
	}
	const never = -100 * time.Hour
	old := -time.Hour
	for name, tt := range map[string]struct {
		pods   []corev1.Pod
		former []v1alpha1.HookPod
		acts   int // in which of the pods
		want   time.Duration
	}{
		"it lives":                  {pods: []corev1.Pod{pod("a", old)}, want: never},
		"it lives beside a new one": {pods: []corev1.Pod{pod("a", old), pod("b", time.Minute)}, want: never},
		"it ends, alone":            {pods: []corev1.Pod{pod("a", old, ends)}, want: 20 * time.Minute},
		"it ends beside a new one": {
			pods: []corev1.Pod{pod("a", old, ends), pod("b", time.Minute)}, want: time.Minute,
		},
		"it ends beside an old one": {
			pods: []corev1.Pod{pod("a", old, ends), pod("b", old)}, want: 20 * time.Minute,
		},
		"the new one does not run yet": {
			pods: []corev1.Pod{pod("a", old, ends), pod("b", 0, waits)}, want: 20 * time.Minute,
		},
		"the new one acts, and it is still there": {
			pods: []corev1.Pod{pod("a", old, ends), pod("b", 21*time.Minute)}, acts: 1, want: 20 * time.Minute,
		},
		"an old one acts, and it is still there": {
			pods: []corev1.Pod{pod("a", old, ends), pod("b", old)}, acts: 1, want: 20 * time.Minute,
		},
		"it is gone, and another one was made before": {
			pods: []corev1.Pod{pod("b", 21*time.Minute), pod("c", 5*time.Minute)}, want: 5 * time.Minute,
		},
		"the new one acts, and it is gone": {pods: []corev1.Pod{pod("b", 21*time.Minute)}, want: 19 * time.Minute},
		"the new one acts, and it failed": {
			pods: []corev1.Pod{pod("a", old, fails), pod("b", 21*time.Minute)}, acts: 1, want: 19 * time.Minute,
		},
		"an old one acts, and it is gone": {
			pods: []corev1.Pod{pod("b", old), pod("c", 20*time.Minute)}, want: 18 * time.Minute,
		},
		"an old one acts, and nobody knows when it went": {pods: []corev1.Pod{pod("b", old)}, want: 0},
		"an old one acts, and what was made is that of a Job": {
			pods: []corev1.Pod{pod("b", old), pod("c", 20*time.Minute, bare)}, want: 0,
		},
		"that of a Job acts, and it is gone": {pods: []corev1.Pod{pod("c", 20*time.Minute, bare)}, want: 0},
		"it ends beside that of a Job": {
			pods: []corev1.Pod{pod("a", old, ends), pod("c", time.Minute, bare)}, want: 20 * time.Minute,
		},
		"its container started again twice": {
			pods:   []corev1.Pod{pod("a", old, restarted)},
			former: []v1alpha1.HookPod{frozen("first"), frozen("second")}, want: old,
		},
		"its container started again, and it ends": {
			pods: []corev1.Pod{pod("a", old, restarted, ends)}, former: []v1alpha1.HookPod{frozen("second")},
			want: 10 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			run := &hookstage.Run{Former: tt.former, Since: began}
			run.Stage = hookstage.Post
			if run.Former == nil {
				run.Former = []v1alpha1.HookPod{frozen("a")}
			}
			action := &v1alpha1.HookAction{Exec: &v1alpha1.HookExecAction{}}
			since := choiceOf(&tt.pods[tt.acts], tt.pods, run, action).Since
			if tt.want == never {
				g.Expect(since).To(BeNil())
				return
			}
			g.Expect(since).To(HaveValue(Equal(after(tt.want))))
		})
	}
}
