package observe

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// steps returns the containers that run before the mover. That with the programs of a database, and a native sidecar
// that a webhook of the cluster can have added, run beside it. A cache can lack the spec of a pod.
func steps(pod *corev1.Pod) []corev1.ContainerStatus {
	if pod == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(pod.Status.InitContainerStatuses), func(s corev1.ContainerStatus) bool {
		if s.Name == task.ProgramContainer {
			return true
		}
		return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == s.Name && ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
		})
	})
}

// failedStep returns the step that did not end with exit code 0, or nil.
func failedStep(pod *corev1.Pod) *corev1.ContainerStatus {
	for _, s := range steps(pod) {
		if end := s.State.Terminated; end != nil && end.ExitCode != 0 {
			return &s
		}
	}
	return nil
}

// stepFailure says why a task ended in a step before its mover. It does not repeat the output of the step, which can
// name the user's files.
func stepFailure(pod *corev1.Pod, s *corev1.ContainerStatus) string {
	end := s.State.Terminated
	what := fmt.Sprintf("failed with exit code %d", end.ExitCode)
	look := fmt.Sprintf("While the pod exists, see: kubectl logs -n %s %s -c %s", pod.Namespace, pod.Name, s.Name)
	switch {
	case outOfMemory(pod, s):
		var advice string
		what, advice = tooLittleMemory(pod, s, "runtimeSettings.resources.limits.memory of its Function, or, if the "+
			"Function sets none, "+policyMemoryLimit)
		advice = "To mend it, " + advice
		if notStarted(end) {
			look = advice
		} else {
			look = advice + ". " + look
		}
	case notStarted(end):
		what, look = "could not be started by the container runtime", "To know why, "+seeWhy(pod)
	}
	return fmt.Sprintf("step %s of the task %s; the mover did not run. %s", s.Name, what, look)
}

// stepping reports whether a step has started.
func stepping(pod *corev1.Pod) bool {
	for _, s := range steps(pod) {
		if s.State.Running != nil || s.State.Terminated != nil {
			return true
		}
	}
	return false
}

// inStep names the step that a pod was in, as the end of a sentence.
func inStep(pod *corev1.Pod) string {
	for _, s := range steps(pod) {
		if end := s.State.Terminated; s.State.Running != nil || end != nil && end.ExitCode != 0 {
			return ", in step " + s.Name
		}
	}
	return ""
}

// stepEnded returns when the last step to end did so.
func stepEnded(pod *corev1.Pod) time.Time {
	var last time.Time
	for _, s := range steps(pod) {
		if s.State.Terminated != nil {
			last = v1alpha1.Later(last, s.State.Terminated.FinishedAt.Time)
		}
	}
	return last
}
