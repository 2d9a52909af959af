package observe

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// completed observes a Job whose pod ended with exit code 0.
func completed(pod *corev1.Pod) Observation {
	o := Observation{State: StateSucceeded, Reason: v1alpha1.ReasonSucceeded, Result: resultOf(pod)}
	if o.Result != nil && o.Result.Outcome == task.OutcomeFailed {
		o.State, o.Reason, o.Message = StateFailed, reasonOf(o.Result), o.Result.Message
	}
	return o
}

// failed observes a Job that ended in any other way.
func failed(c *batchv1.JobCondition, pod *corev1.Pod) Observation {
	end, outside := terminated(pod), fromOutside(pod)
	o := Observation{State: StateFailed, Result: resultOf(pod)}
	o.OOMKilled = o.Result == nil && end != nil && end.Reason == oomKilled
	o.Reason, o.Message = v1alpha1.ReasonJobFailed,
		"the mover ended without a result: see the log of its pod while the pod exists"
	switch {
	case o.Result != nil && o.Result.Outcome == task.OutcomeSucceeded: // The mover was done when it was killed.
		o.State, o.Reason, o.Message = StateSucceeded, v1alpha1.ReasonSucceeded, ""
	case c.Reason == batchv1.JobReasonDeadlineExceeded:
		o.Reason, o.Message = v1alpha1.ReasonDeadlineExceeded, "the Job did not end within its deadline"+inStep(pod)
	case o.Result != nil && interrupted(o.Result) && outside != "":
		o.Reason, o.Message = outside, outsideReasons[outside]
	case o.Result != nil && programOutOfMemory(pod, o.Result) != "":
		o.Reason, o.Message = v1alpha1.ReasonOutOfMemory, programOutOfMemory(pod, o.Result)
	case o.Result != nil:
		o.Reason, o.Message = reasonOf(o.Result), o.Result.Message
	case failedStep(pod) != nil && outside == "":
		o.Reason, o.Message = v1alpha1.ReasonStepFailed, stepFailure(pod, failedStep(pod))
	case outside != "": // Whoever ends a pod also kills what is about to start in it.
		o.Reason, o.Message = outside, outsideReasons[outside]+inStep(pod)
		if o.OOMKilled {
			o.Message += ". Besides, " + workerOutOfMemory(pod)
		}
	case end != nil && outOfMemory(pod, worker(pod)):
		o.Reason, o.Message = v1alpha1.ReasonOutOfMemory, workerOutOfMemory(pod)
	case pod == nil && c.Reason == batchv1.JobReasonPodFailurePolicy: // See moverjob: the only rule of its Jobs.
		o.Reason, o.Message = v1alpha1.ReasonEvicted,
			"the pod was evicted from its node, or the node was lost: the pod is gone"
	case pod == nil:
		o.Reason, o.Message = v1alpha1.ReasonPodDeleted, outsideReasons[v1alpha1.ReasonPodDeleted]
	case notStarted(end) && isFunction(pod):
		o.Message = "the container runtime could not start the Function's container: " + seeWhy(pod)
	case notStarted(end):
		o.Message = "the container runtime could not start the mover: " + seeWhy(pod)
	case end != nil && isFunction(pod):
		o.Message = fmt.Sprintf("the Function's container ended with exit code %d", end.ExitCode)
	case end != nil:
		o.Reason, o.Message = ofExitCode(end.ExitCode)
	}
	if end != nil && isFunction(pod) {
		o.Output = end.Message
	}
	return o
}

// reasonOf returns the reason of a failed Result. A condition needs one, and a mover can leave it out.
func reasonOf(r *task.Result) string { return cmp.Or(r.Reason, v1alpha1.ReasonFailed) }

// interrupted reports whether a mover was told to stop before it was done. A component that had failed before gives the
// Result its reason.
func interrupted(r *task.Result) bool {
	return r.Reason == v1alpha1.ReasonCancelled || slices.ContainsFunc(r.Components, func(c task.ComponentResult) bool {
		return c.Reason == v1alpha1.ReasonCancelled
	})
}

// isFunction reports whether a pod belongs to a moverjob.FunctionJob. A webhook can have added other containers.
func isFunction(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == moverjob.FunctionContainerName
	})
}

// outlived observes a Job whose mover has ended while its pod has not. A container runs on that a webhook of the
// cluster has added, such as the proxy of a mesh, and the Job never ends: so the end of the mover soon counts as that
// of the Job. An end in the future is of a node whose clock is wrong.
func outlived(pod *corev1.Pod, end *corev1.ContainerStateTerminated, now time.Time) Observation {
	left := outliveLimit - now.Sub(end.FinishedAt.Time)
	switch {
	case left > 0 && left <= outliveLimit+v1alpha1.ClockTolerance:
		return Observation{State: StateRunning, Reason: v1alpha1.ReasonRunning, Recheck: left}
	case end.ExitCode == 0:
		return completed(pod)
	default:
		return failed(&batchv1.JobCondition{}, pod)
	}
}

// outsideReasons explains what happened to a pod that was ended from outside.
var outsideReasons = map[string]string{
	v1alpha1.ReasonNodeLost: "the node of the pod was lost",
	v1alpha1.ReasonEvicted: "the pod was evicted from its node: the node is being drained, lacks memory or disk, " +
		"or a pod of higher priority needs the room",
	v1alpha1.ReasonPodDeleted: "the pod was deleted before it ended",
}

// fromOutside returns the reason why a pod was ended from outside; "" if it ended by itself, or there is none.
func fromOutside(pod *corev1.Pod) string {
	if pod == nil {
		return ""
	}
	switch pod.Status.Reason {
	case "Evicted":
		return v1alpha1.ReasonEvicted
	case "NodeLost", "Shutdown", "NodeShutdown", "Terminated", "NodeAffinity":
		return v1alpha1.ReasonNodeLost
	}
	if c := podCondition(pod, corev1.DisruptionTarget); c != nil && c.Status == corev1.ConditionTrue {
		switch c.Reason {
		case corev1.PodReasonPreemptionByScheduler, corev1.PodReasonTerminationByKubelet, "EvictionByEvictionAPI":
			return v1alpha1.ReasonEvicted
		default: // The taint manager or the garbage collector of pods.
			return v1alpha1.ReasonNodeLost
		}
	}
	if pod.DeletionTimestamp == nil {
		return ""
	}
	if end := terminated(pod); end == nil || notStarted(end) ||
		slices.Contains([]int32{task.ExitCancelled, 137, 143}, end.ExitCode) {
		return v1alpha1.ReasonPodDeleted
	}
	return "" // The mover had ended before the deletion.
}

// worker returns the status of the mover's container, or of the container of a moverjob.FunctionJob; nil if the pod
// has none.
func worker(pod *corev1.Pod) *corev1.ContainerStatus {
	if pod == nil {
		return nil
	}
	for i, s := range pod.Status.ContainerStatuses {
		if s.Name == task.Container || s.Name == moverjob.FunctionContainerName {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// terminated returns how the worker of a pod ended, or nil.
func terminated(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	if s := worker(pod); s != nil {
		return s.State.Terminated
	}
	return nil
}

// notStarted reports whether the container runtime could not start a container that has ended so. It rarely has a log.
func notStarted(end *corev1.ContainerStateTerminated) bool {
	// The reasons are those of containerd and of Docker.
	return end != nil && (end.Reason == "StartError" || end.Reason == "ContainerCannotRun")
}

// seeWhy says where to see why a container was not started. The message does not repeat the words of the runtime: they
// have IDs that differ in each attempt, and can quote arguments. The pod of a storage goes as soon as it was seen, and
// its Job is tried each hour, so its name is left out.
func seeWhy(pod *corev1.Pod) string {
	events := "kubectl get events -n " + pod.Namespace
	switch {
	case isFunction(pod):
		return "see stderr in the status of the hook"
	case ofStorage(pod):
		return "see " + events
	}
	return fmt.Sprintf("see kubectl describe pod -n %s %s while the pod exists, or %s soon after",
		pod.Namespace, pod.Name, events)
}

// ofStorage reports whether a pod works for a BackupStorage: its keeper, or what initialises something in it.
func ofStorage(pod *corev1.Pod) bool {
	labels := []string{v1alpha1.LabelKeeper, v1alpha1.LabelStorage, v1alpha1.LabelInitStorage}
	return slices.ContainsFunc(labels, func(label string) bool {
		_, ok := pod.Labels[label]
		return ok
	})
}

// resultOf returns the mover's termination message. It ignores the message of any other program, whatever that looks
// like.
func resultOf(pod *corev1.Pod) *task.Result {
	end := terminated(pod)
	if end == nil || end.Message == "" || isFunction(pod) {
		return nil
	}
	r, err := task.DecodeResult(end.Message)
	if err != nil {
		return nil
	}
	return r
}

// ofExitCode explains the end of a mover without a Result by its exit code. task.ExitInvalidTask is also the exit code
// of a Go panic.
func ofExitCode(code int32) (reason, message string) {
	switch code {
	case task.ExitCancelled:
		return v1alpha1.ReasonCancelled, "the mover was told to stop"
	case 137:
		return v1alpha1.ReasonJobFailed, "the mover was killed"
	}
	return v1alpha1.ReasonJobFailed, "the mover ended without a result: see the log of its pod while the pod exists"
}

// PodEnded reports whether all containers of a pod have ended for good.
func PodEnded(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// PodReady reports whether a pod is ready.
func PodReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
