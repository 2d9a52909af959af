// Package observe tells from a Job and its pods how far a mover is, and how it ended. It is pure.
package observe

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

// State is how far a Job has come.
type State string

// The values of State. Succeeded and Failed are final for the caller, even if the Job object does not show it yet:
// after the death of its node it never will.
const (
	StateWaiting   State = "Waiting"
	StateRunning   State = "Running"
	StateSucceeded State = "Succeeded"
	StateFailed    State = "Failed"
)

// How long a Job is allowed to stay in a state that rarely ends by itself.
const (
	imagePullLimit = 2 * time.Minute
	nodeLostLimit  = 5 * time.Minute
	noPodLimit     = 5 * time.Minute
	// mountLimit is long because a volume can first have to be detached from a dead node, which takes six minutes.
	mountLimit = 15 * time.Minute
	// outliveLimit is how long a pod can run on when its mover has ended.
	outliveLimit = time.Minute
	// UnscheduledLimit is how long a pod can be without a node.
	UnscheduledLimit = 5 * time.Minute
)

// farAhead is how far a time lies ahead of the manager's clock at most if that is merely behind. What lies farther
// ahead was written while a clock was wrong, and whoever waited for it would wait for years.
const farAhead = 24 * time.Hour

// FarAhead reports whether a time that the API server or a node has written can't be waited for.
func FarAhead(t, now time.Time) bool { return t.Sub(now) > farAhead }

// Lasted reports whether what began at a time that the API server has written has lasted longer than limit. It has if a
// clock that was ahead says when it began.
func Lasted(since, now time.Time, limit time.Duration) bool {
	return now.Sub(since) > limit || FarAhead(since, now)
}

// Observation is what a Job and its pods show.
type Observation struct {
	State State
	// Reason and Message of a failure or a wait.
	Reason, Message string
	// Result of the mover; nil if it left none.
	Result *task.Result
	// Output is the end of what the container of a moverjob.FunctionJob wrote before it failed, or what the container
	// runtime said if it could not start it. It can hold anything, including secrets.
	Output string
	// Recheck is when the same objects can mean something else; 0 means never.
	Recheck time.Duration
	// Unbegun means that the mover is known not to have begun. It says nothing of the steps before the mover.
	Unbegun bool
	// OOMKilled means that the kernel killed the mover, or the container of a Function, for its memory before it left a
	// Result, whatever else ended its pod.
	OOMKilled bool
}

// Suspended reports whether a Job waits for somebody else to let it go on. That has no limit.
func (o *Observation) Suspended() bool {
	return o.State == StateWaiting && o.Reason == v1alpha1.ReasonSuspended
}

// Observe returns the state of a Job. It ignores pods of other Jobs. The caller must notice when a Job vanishes.
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
	case pod.Status.Phase == corev1.PodFailed && job.DeletionTimestamp == nil && fromOutside(pod) != "":
		// The Job shows it only once the pod, and with it the reason, is gone. Whoever deletes the Job waits for that.
		o = failed(&batchv1.JobCondition{}, pod)
	default:
		o = alive(pod, now)
	}
	o.Unbegun = unbegun(job, pods)
	return o
}

// newest returns the newest pod of the Job.
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
	return slices.MaxFunc(own,
		func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
}

// Ended reports whether a Job has ended, so that none of its pods runs.
func Ended(job *batchv1.Job) bool { return End(job) != nil }

// End returns the condition with which a Job ended, or nil while it has not ended.
func End(job *batchv1.Job) *batchv1.JobCondition {
	return finished(job, batchv1.JobComplete, batchv1.JobFailed)
}

// finished returns the first condition of one of the types that is true.
func finished(job *batchv1.Job, types ...batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if slices.Contains(types, c.Type) && c.Status == corev1.ConditionTrue {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// noPod observes a Job without a pod.
func noPod(job *batchv1.Job, now time.Time) Observation {
	if job.Spec.Suspend != nil && *job.Spec.Suspend {
		return Observation{State: StateWaiting, Reason: v1alpha1.ReasonSuspended, Message: "Job " + job.Name +
			" is suspended: it goes on when whoever suspended it, such as Kueue, sets spec.suspend to false"}
	}
	o := patient(Observation{
		Reason:  v1alpha1.ReasonPodNotCreated,
		Message: "no pod could be created: see the events of the Job (most often a quota or an admission policy)",
	}, releasedAt(job, now), noPodLimit, now)
	if o.State == StateWaiting { // Every Job starts this way.
		o.Reason = v1alpha1.ReasonPending
		o.Message = "the Job has no pod yet: if that lasts, see the events of the Job"
	}
	return o
}

// releasedAt returns since when a Job can have a pod: since it was made, or since it is suspended no longer, which its
// controller may not have seen yet.
func releasedAt(job *batchv1.Job, now time.Time) time.Time {
	since := job.CreationTimestamp.Time
	for _, c := range job.Status.Conditions {
		switch {
		case c.Type != batchv1.JobSuspended:
		case c.Status == corev1.ConditionTrue:
			return now
		default:
			since = v1alpha1.Later(since, c.LastTransitionTime.Time)
		}
	}
	return since
}

// alive observes a Job that has not ended.
func alive(pod *corev1.Pod, now time.Time) Observation {
	if end := terminated(pod); end != nil && !PodEnded(pod) {
		return outlived(pod, end, now)
	}
	if since, lost := LostSince(pod); lost {
		o := limited(Observation{Reason: v1alpha1.ReasonNodeLost, Message: "the node of the pod no longer answers"},
			since, nodeLostLimit, now)
		if o.State == StateWaiting {
			o.State = StateRunning
		}
		return o
	}
	if pod.Status.Phase == corev1.PodPending {
		o := pending(pod, now)
		if o.State == StateWaiting && stepping(pod) {
			o.State, o.Reason = StateRunning, v1alpha1.ReasonRunning
		}
		return o
	}
	return Observation{State: StateRunning, Reason: v1alpha1.ReasonRunning}
}

// pending observes a pod whose container has not started.
func pending(pod *corev1.Pod, now time.Time) Observation {
	if c := podCondition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		// The creation time counts, because the scheduler rewrites its condition when the message changes.
		return limited(Observation{Reason: v1alpha1.ReasonUnschedulable, Message: "no node can take the pod: " +
			text.Cut(c.Message, 512)}, pod.CreationTimestamp.Time, UnscheduledLimit, now)
	}
	since, mounted := prepared(pod)
	since = v1alpha1.Later(since, stepEnded(pod)) // An image is pulled when the previous step has ended.
	for _, s := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
		if s.State.Waiting == nil {
			continue
		}
		if stuck := programStuck(pod, &s); stuck != nil {
			return limited(*stuck, since, imagePullLimit, now)
		}
		switch s.State.Waiting.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
			"ImageInspectError":
			return limited(Observation{Reason: v1alpha1.ReasonImagePullFailed, Message: "image " + s.Image +
				" cannot be pulled: " + s.State.Waiting.Reason}, since, imagePullLimit, now)
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return limited(Observation{
				Reason:  v1alpha1.ReasonPodNotStarted,
				Message: text.Cut(s.State.Waiting.Reason+": "+s.State.Waiting.Message, 512),
			}, since, imagePullLimit, now)
		}
	}
	if !mounted {
		stuck := patient(Observation{
			Reason:  v1alpha1.ReasonPodNotStarted,
			Message: "the node cannot mount the volumes of the pod or give it a network: see the events of the pod",
		}, since, mountLimit, now)
		if stuck.State == StateFailed {
			return stuck
		}
		// Every pod starts this way.
		return Observation{State: StateWaiting, Reason: v1alpha1.ReasonPending, Recheck: stuck.Recheck}
	}
	return Observation{State: StateWaiting, Reason: v1alpha1.ReasonPending}
}

// prepared returns since when the pod's node has had its volumes mounted and can pull images. If the node has not
// mounted them yet, it returns false and since when the node has had the pod. A node that does not report this counts
// as prepared from the start.
func prepared(pod *corev1.Pod) (since time.Time, mounted bool) {
	since = pod.CreationTimestamp.Time
	if c := podCondition(pod, corev1.PodScheduled); c != nil {
		since = c.LastTransitionTime.Time
	}
	c := podCondition(pod, corev1.PodReadyToStartContainers)
	switch {
	case c == nil:
		return since, true
	case c.Status == corev1.ConditionTrue:
		return c.LastTransitionTime.Time, true
	}
	return since, false
}

// podCondition returns the condition of the type, or nil.
func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i, c := range pod.Status.Conditions {
		if c.Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// limited is patient for a state in which no Job begins. If a clock that was ahead says when it began, it has lasted.
func limited(o Observation, since time.Time, limit time.Duration, now time.Time) Observation {
	if FarAhead(since, now) {
		since = now.Add(-limit)
	}
	return patient(o, since, limit, now)
}

// patient returns o as Failed once the state has lasted limit; until then as Waiting with a time to look again.
func patient(o Observation, since time.Time, limit time.Duration, now time.Time) Observation {
	o.State = StateFailed
	if left := limit - now.Sub(since); left > 0 {
		o.State, o.Recheck = StateWaiting, left
	}
	return o
}

// Lost reports whether the node of a pod no longer answers, or the pod is being deleted. A pod can stay like that for
// ever.
func Lost(pod *corev1.Pod) bool {
	_, lost := LostSince(pod)
	return lost
}

// LostSince returns since when a pod has been lost, and whether it is: see Lost. The time is zero if nobody knows.
func LostSince(pod *corev1.Pod) (time.Time, bool) {
	if c := podCondition(pod, corev1.PodReady); c != nil && (c.Status == corev1.ConditionUnknown ||
		c.Reason == "NodeStatusUnknown" || c.Reason == "NodeNotReady") {
		return c.LastTransitionTime.Time, true
	}
	if pod.DeletionTimestamp != nil && (pod.Status.Phase == corev1.PodPending ||
		pod.Status.Phase == corev1.PodRunning) {
		return pod.DeletionTimestamp.Time, true
	}
	return time.Time{}, pod.Status.Reason == "NodeLost"
}
