package observe_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/internal/task/observe"
)

// The cluster's clock is a year ahead for a minute, in which a Job is made. A state that must not last is over when
// the clock is right again, not in a year. A manager whose clock is merely behind waits a little longer. Each Job
// begins without a pod, and each pod without its volumes.
func TestAStateThatBeganInTheFutureEnds(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for name, tt := range map[string]struct {
		change func(*corev1.Pod) // nil: there is no pod
		ahead  time.Duration
		want   observe.State
	}{
		"no image":                           {podWaits("ImagePullBackOff"), year, observe.StateFailed},
		"no node":                            {noNode, year, observe.StateFailed},
		"the node is lost":                   {lostNode, year, observe.StateFailed},
		"no image, by a manager behind":      {podWaits("ImagePullBackOff"), time.Hour, observe.StateWaiting},
		"no node, by a manager behind":       {noNode, time.Hour, observe.StateWaiting},
		"no pod, by a manager far behind":    {nil, year, observe.StateWaiting},
		"no volume, by a manager far behind": {noVolume, year, observe.StateWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, job := metav1.NewTime(began.Add(tt.ahead)), jobWith()
			job.CreationTimestamp = at
			var pods []corev1.Pod
			if tt.change != nil {
				pods = append(pods, *podWith(tt.change))
				pods[0].CreationTimestamp = at
				for i := range pods[0].Status.Conditions {
					pods[0].Status.Conditions[i].LastTransitionTime = at
				}
			}
			NewWithT(t).Expect(observe.Observe(job, pods, began).State).To(Equal(tt.want))
		})
	}
}

func noNode(p *corev1.Pod) {
	podCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable")(p)
}

func lostNode(p *corev1.Pod) {
	podCondition(corev1.PodReady, corev1.ConditionUnknown, "NodeStatusUnknown")(p)
}

func noVolume(p *corev1.Pod) {
	podCondition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "")(p)
}
