package observe

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/internal/task"
)

// unbegun reports whether it is known that the mover of a Job has begun in no pod. What a pod did that is gone nobody
// knows.
func unbegun(job *batchv1.Job, pods []corev1.Pod) bool {
	if suspendedBefore(job) {
		return false
	}
	own := false
	for i := range pods {
		if !metav1.IsControlledBy(&pods[i], job) {
			continue
		}
		own = true
		if !waitsToBegin(&pods[i]) {
			return false
		}
	}
	s := &job.Status
	return own || s.Active+s.Succeeded+s.Failed+ptr.Deref(s.Terminating, 0) == 0 &&
		finished(job, batchv1.JobComplete, batchv1.JobFailed, batchv1.JobFailureTarget) == nil
}

// suspendedBefore reports whether a Job can have had pods before it was suspended: suspending deletes them. A Job that
// was made suspended, as Kueue does it, has its first pods in its second generation.
func suspendedBefore(job *batchv1.Job) bool {
	if ptr.Deref(job.Spec.Suspend, false) {
		return job.Generation > 1
	}
	return job.Generation > 2 && slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobSuspended
	})
}

// waitsToBegin reports whether it is known that no container was made for the mover in a pod. Only the node knows that:
// what a node that is lost told last proves nothing, and neither does how a pod looks that was ended from outside.
func waitsToBegin(pod *corev1.Pod) bool {
	if pod.Spec.NodeName == "" && pod.Status.Phase == corev1.PodPending {
		c := podCondition(pod, corev1.PodScheduled)
		return c == nil || c.Status == corev1.ConditionFalse
	}
	if _, lost := LostSince(pod); lost || fromOutside(pod) != "" {
		return false
	}
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == task.Container && s.ContainerID == "" && s.RestartCount == 0 &&
			s.State.Running == nil && s.State.Terminated == nil && s.LastTerminationState.Terminated == nil
	})
}
