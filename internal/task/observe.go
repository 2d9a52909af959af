package task

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// State is how far a Job is.
type State string

// The values of State. Succeeded and Failed are final for the caller, also where the Job object does not say so yet: a
// node that died never will.
const (
	StateWaiting   State = "Waiting"
	StateRunning   State = "Running"
	StateSucceeded State = "Succeeded"
	StateFailed    State = "Failed"
)

// How long a Job may stay in a state that usually does not mend itself.
const (
	imagePullLimit   = 2 * time.Minute
	unscheduledLimit = 5 * time.Minute
	nodeLostLimit    = 5 * time.Minute
	noPodLimit       = 5 * time.Minute
)

// Observation is what a Job and its pods tell.
type Observation struct {
	State State
	// Reason and Message of a failure, or of waiting.
	Reason, Message string
	// Result that the mover left; nil where it left none.
	Result *Result
	// Recheck is how long until the same objects can mean something else; 0 is never.
	Recheck time.Duration
}

// Observe tells how a Job is. Pods of other Jobs are ignored. A Job that vanished is for the caller to notice.
func Observe(job *batchv1.Job, pods []corev1.Pod, now time.Time) Observation {
	pod := newest(job, pods)
	var o Observation
	switch {
	case finished(job, batchv1.JobComplete) != nil:
		o = completed(pod)
	case finished(job, batchv1.JobFailed) != nil:
		o = failed(finished(job, batchv1.JobFailed), pod)
	case pod == nil && finished(job, batchv1.JobFailureTarget) != nil:
		o = failed(finished(job, batchv1.JobFailureTarget), nil)
	case pod == nil:
		o = noPod(job, now)
	default:
		o = alive(job, pod, now)
	}
	return o
}

// newest is the newest pod of the Job.
func newest(job *batchv1.Job, pods []corev1.Pod) *corev1.Pod {
	var own []*corev1.Pod
	for i := range pods {
		if metav1.IsControlledBy(&pods[i], job) {
			own = append(own, &pods[i])
		}
	}
	if len(own) == 0 {
		return nil
	}
	return slices.MaxFunc(own, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
}

// finished gives the condition of the type where it is true.
func finished(job *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if c.Type == kind && c.Status == corev1.ConditionTrue {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

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

// noPod is a Job for which there is no pod yet.
func noPod(job *batchv1.Job, now time.Time) Observation {
	if job.Spec.Suspend != nil && *job.Spec.Suspend {
		return Observation{State: StateWaiting, Reason: v1alpha1.ReasonPending, Message: "the Job is suspended"}
	}
	return limited(Observation{Reason: v1alpha1.ReasonJobFailed, Message: "no pod could be created: the events of the Job say why (a quota or an admission policy, most often)"},
		job.CreationTimestamp.Time, noPodLimit, now)
}

// alive is a Job that has not ended.
func alive(job *batchv1.Job, pod *corev1.Pod, now time.Time) Observation {
	if since, lost := lostSince(pod); lost {
		o := limited(Observation{Reason: v1alpha1.ReasonNodeLost, Message: "the node of the mover does not answer any more"}, since, nodeLostLimit, now)
		if o.State == StateWaiting {
			o.State = StateRunning
		}
		return o
	}
	if pod.Status.Phase == corev1.PodPending {
		return pending(job, pod, now)
	}
	return Observation{State: StateRunning, Reason: v1alpha1.ReasonRunning}
}

// pending is a pod whose container has not started.
func pending(job *batchv1.Job, pod *corev1.Pod, now time.Time) Observation {
	scheduled := pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodScheduled {
			continue
		}
		if c.Status == corev1.ConditionFalse {
			// The first time counts: the scheduler rewrites its condition when the message changes.
			return limited(Observation{Reason: v1alpha1.ReasonUnschedulable, Message: "no node can take the pod: " + cut(c.Message, 512)}, pod.CreationTimestamp.Time, unscheduledLimit, now)
		}
		scheduled = c.LastTransitionTime.Time
	}
	for _, s := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
		if s.State.Waiting == nil {
			continue
		}
		switch s.State.Waiting.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError":
			return limited(Observation{Reason: v1alpha1.ReasonImagePullFailed, Message: "image " + s.Image + " can't be pulled: " + s.State.Waiting.Reason}, scheduled, imagePullLimit, now)
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return limited(Observation{Reason: v1alpha1.ReasonJobFailed, Message: cut(s.State.Waiting.Reason+": "+s.State.Waiting.Message, 512)}, scheduled, imagePullLimit, now)
		}
	}
	return Observation{State: StateWaiting, Reason: v1alpha1.ReasonPending}
}

// limited is Failed once the state has lasted limit, until then Waiting with a time to look again.
func limited(o Observation, since time.Time, limit time.Duration, now time.Time) Observation {
	o.State = StateFailed
	if left := limit - now.Sub(since); left > 0 {
		o.State, o.Recheck = StateWaiting, left
	}
	return o
}

// lostSince says since when the pod's node is not heard of.
func lostSince(pod *corev1.Pod) (time.Time, bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && (c.Status == corev1.ConditionUnknown || c.Reason == "NodeStatusUnknown" || c.Reason == "NodeNotReady") {
			return c.LastTransitionTime.Time, true
		}
	}
	if pod.DeletionTimestamp != nil && pod.Status.Phase == corev1.PodRunning {
		return pod.DeletionTimestamp.Time, true
	}
	return time.Time{}, pod.Status.Reason == "NodeLost"
}

// disrupted says whether the pod was ended from outside because of its node.
func disrupted(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return true
		}
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
