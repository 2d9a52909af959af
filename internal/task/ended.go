package task

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// completed is a Job whose pod ended with 0.
func completed(pod *corev1.Pod) Observation {
	o := Observation{State: StateSucceeded, Reason: v1alpha1.ReasonSucceeded, Result: resultOf(terminated(pod))}
	if o.Result != nil && o.Result.Outcome == OutcomeFailed {
		o.State, o.Reason, o.Message = StateFailed, o.Result.Reason, o.Result.Message
	}
	return o
}

// failed is a Job that ended otherwise.
func failed(c *batchv1.JobCondition, pod *corev1.Pod) Observation {
	end := terminated(pod)
	o := Observation{State: StateFailed, Result: resultOf(end)}
	o.Reason, o.Message = v1alpha1.ReasonJobFailed, "the mover ended without a word; look at its pod's log while the pod is there"
	switch {
	case o.Result != nil && o.Result.Outcome == OutcomeSucceeded: // it was done when it was killed
		o.State, o.Reason, o.Message = StateSucceeded, v1alpha1.ReasonSucceeded, ""
	case c.Reason == batchv1.JobReasonDeadlineExceeded:
		o.Reason, o.Message = v1alpha1.ReasonDeadlineExceeded, "the Job did not end within its deadline"
	case o.Result != nil:
		o.Reason, o.Message = o.Result.Reason, o.Result.Message
	case end != nil && end.Reason == "OOMKilled":
		o.Reason, o.Message = v1alpha1.ReasonOutOfMemory, "the mover needed more memory than its limit: raise jobTemplate.spec.resources.limits.memory"
	case pod == nil:
		o.Message = "the mover's pod was deleted before it ended"
	case disrupted(pod):
		o.Reason, o.Message = v1alpha1.ReasonNodeLost, "the node of the mover was lost or evicted it"
	case end != nil:
		o.Reason, o.Message = ofExitCode(end.ExitCode)
	}
	return o
}

// disrupted says whether the pod was ended from outside because of its node.
func disrupted(pod *corev1.Pod) bool {
	if c := podCondition(pod, corev1.DisruptionTarget); c != nil && c.Status == corev1.ConditionTrue {
		return true
	}
	switch pod.Status.Reason {
	case "NodeLost", "Evicted", "Shutdown", "NodeShutdown", "Terminated", "NodeAffinity":
		return true
	}
	return false
}

// terminated is how the mover's container ended.
func terminated(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	if pod == nil {
		return nil
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == Container {
			return s.State.Terminated
		}
	}
	return nil
}

// resultOf is the mover's termination message; another program's counts as none.
func resultOf(end *corev1.ContainerStateTerminated) *Result {
	if end == nil || end.Message == "" {
		return nil
	}
	r, err := DecodeResult(end.Message)
	if err != nil {
		return nil
	}
	return r
}

// ofExitCode is what is left to say of a mover that left no Result. ExitInvalidTask is also how Go ends in a panic.
func ofExitCode(code int32) (reason, message string) {
	switch code {
	case ExitCancelled:
		return v1alpha1.ReasonCancelled, "the mover was told to stop"
	case 137:
		return v1alpha1.ReasonJobFailed, "the mover was killed"
	}
	return v1alpha1.ReasonJobFailed, "the mover ended without a word; look at its pod's log while the pod is there"
}
