package task

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// failedStep is the step that ended otherwise than with 0, nil where there is none.
func failedStep(pod *corev1.Pod) *corev1.ContainerStatus {
	if pod == nil {
		return nil
	}
	for i, s := range pod.Status.InitContainerStatuses {
		if end := s.State.Terminated; end != nil && end.ExitCode != 0 {
			return &pod.Status.InitContainerStatuses[i]
		}
	}
	return nil
}

// ofStep is the reason and message of a task that ended with a step before its mover. What the step wrote is not repeated: it may
// name the user's files.
func ofStep(pod *corev1.Pod, s *corev1.ContainerStatus) (reason, message string) {
	reason, what := v1alpha1.ReasonStepFailed, fmt.Sprintf("failed with exit code %d", s.State.Terminated.ExitCode)
	if s.State.Terminated.Reason == "OOMKilled" {
		what = "needed more memory than its limit: raise runtimeSettings.resources.limits.memory of its Function"
	}
	return reason, fmt.Sprintf("step %s of the task %s; the mover did not run. As long as the pod is there: kubectl logs -n %s %s -c %s",
		s.Name, what, pod.Namespace, pod.Name, s.Name)
}

// stepping says whether a step has started.
func stepping(pod *corev1.Pod) bool {
	for _, s := range pod.Status.InitContainerStatuses {
		if s.State.Running != nil || s.State.Terminated != nil {
			return true
		}
	}
	return false
}

// inStep says in which step a pod was, as an ending of a sentence.
func inStep(pod *corev1.Pod) string {
	if pod == nil {
		return ""
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if end := s.State.Terminated; s.State.Running != nil || end != nil && end.ExitCode != 0 {
			return ", in step " + s.Name
		}
	}
	return ""
}

// stepEnded is when the last step that has ended did so.
func stepEnded(pod *corev1.Pod) time.Time {
	var last time.Time
	for _, s := range pod.Status.InitContainerStatuses {
		if s.State.Terminated != nil {
			last = latest(last, s.State.Terminated.FinishedAt.Time)
		}
	}
	return last
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
