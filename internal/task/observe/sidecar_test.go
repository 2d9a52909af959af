package observe_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

func TestObserveSidecar(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pod := func(edit ...func(*corev1.Pod, *corev1.ContainerStatus)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "web-x"},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, InitContainerStatuses: []corev1.ContainerStatus{
				{
					Name: "cairn", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
					RestartCount: 7,
				},
			}},
		}
		for _, e := range edit {
			e(p, &p.Status.InitContainerStatuses[0])
		}
		return p
	}
	crashed := func(count int32) func(*corev1.Pod, *corev1.ContainerStatus) {
		return func(_ *corev1.Pod, s *corev1.ContainerStatus) {
			s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
			s.RestartCount = count
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled"}
		}
	}
	unheard := func(ago time.Duration) func(*corev1.Pod, *corev1.ContainerStatus) {
		return func(p *corev1.Pod, _ *corev1.ContainerStatus) {
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionUnknown,
				LastTransitionTime: metav1.NewTime(now.Add(-ago)),
			}}
		}
	}
	tests := map[string]struct {
		pod    *corev1.Pod
		since  time.Duration
		begun  bool
		state  observe.State
		reason string
	}{
		"it works": {
			pod: pod(), begun: true, since: time.Hour, state: observe.StateRunning, reason: v1alpha1.ReasonRunning,
		},
		"it has not begun": {
			pod: pod(), since: time.Minute, state: observe.StateWaiting, reason: v1alpha1.ReasonSidecarNotReady,
		},
		"it does not begin": {
			pod: pod(), since: 5 * time.Minute, state: observe.StateFailed, reason: v1alpha1.ReasonSidecarNotReady,
		},
		"its pod is gone": {state: observe.StateFailed, reason: v1alpha1.ReasonPodDeleted},
		"its pod has ended": {
			pod:   pod(func(p *corev1.Pod, _ *corev1.ContainerStatus) { p.Status.Phase = corev1.PodSucceeded }),
			state: observe.StateFailed, reason: v1alpha1.ReasonPodDeleted,
		},
		"its pod was evicted": {pod: pod(func(p *corev1.Pod, _ *corev1.ContainerStatus) {
			p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted"
		}), state: observe.StateFailed, reason: v1alpha1.ReasonEvicted},
		"its node does not report": {
			pod: pod(unheard(time.Minute)), begun: true, state: observe.StateRunning, reason: v1alpha1.ReasonNodeLost,
		},
		"its node does not report for long": {
			pod: pod(unheard(time.Hour)), begun: true, state: observe.StateFailed, reason: v1alpha1.ReasonNodeLost,
		},
		"it was killed and is started again": {
			pod: pod(crashed(8)), begun: true, since: time.Hour, state: observe.StateRunning,
			reason: v1alpha1.ReasonRunning,
		},
		"it is killed again and again": {
			pod: pod(crashed(10)), begun: true, state: observe.StateFailed, reason: v1alpha1.ReasonSidecarNotReady,
		},
		"it does not run": {
			pod: pod(crashed(7)), since: time.Minute, state: observe.StateWaiting,
			reason: v1alpha1.ReasonSidecarNotReady,
		},
		"there is no sidecar in the pod": {
			pod: &corev1.Pod{}, since: 5 * time.Minute, begun: true, state: observe.StateFailed,
			reason: v1alpha1.ReasonSidecarNotReady,
		},
		"its pod is being deleted": {pod: pod(func(p *corev1.Pod, _ *corev1.ContainerStatus) {
			p.DeletionTimestamp = new(metav1.NewTime(now.Add(time.Second)))
		}), begun: true, state: observe.StateRunning, reason: v1alpha1.ReasonNodeLost},
		"its pod stays in deletion": {pod: pod(func(p *corev1.Pod, _ *corev1.ContainerStatus) {
			p.DeletionTimestamp = new(metav1.NewTime(now.Add(-time.Hour)))
		}), begun: true, state: observe.StateFailed, reason: v1alpha1.ReasonNodeLost},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := observe.ObserveSidecar(tt.pod, observe.SidecarAtWork{
				Container: "cairn", Since: now.Add(-tt.since),
				Begun: tt.begun, Restarts: 7,
			}, now)
			g.Expect(got.State).To(Equal(tt.state))
			g.Expect(got.Reason).To(Equal(tt.reason))
			g.Expect(got.Recheck > 0).To(Equal(tt.state != observe.StateFailed), "pods of workloads are not watched")
			g.Expect(got.Recheck).To(BeNumerically("<=", 10*time.Second))
		})
	}
	NewWithT(t).Expect(observe.ObserveSidecar(pod(crashed(10)), observe.SidecarAtWork{
		Container: "cairn", Begun: true,
		Restarts: 7,
	}, now).Message).
		To(ContainSubstring("OOMKilled"))
}
