package task

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	// sidecarLimit is how long a sidecar may take to begin with what it was given, and how long one that could be given something
	// is looked for.
	sidecarLimit = 5 * time.Minute
	// maxRestarts is how often its container may be started again while it works on the same thing.
	maxRestarts = 3
	// sidecarPoll is how often the pod is looked at: pods of workloads are not watched.
	sidecarPoll = 10 * time.Second
)

// SidecarAtWork is what is known of a sidecar that was given something to do.
type SidecarAtWork struct {
	// Container is the name of its container.
	Container string
	// Since is when it could have begun.
	Since time.Time
	// Begun says whether it has.
	Begun bool
	// Restarts is how often its container had been started again before.
	Restarts int32
}

// ObserveSidecar tells how a sidecar's work is going, as if it were a Job's: from its pod, which is nil where there is none any
// more. What its components say is for the caller to know.
func ObserveSidecar(pod *corev1.Pod, w SidecarAtWork, now time.Time) Observation {
	gone := func(reason, message string) Observation {
		return Observation{State: StateFailed, Reason: reason, Message: message}
	}
	switch {
	case pod == nil:
		return gone(v1alpha1.ReasonPodDeleted, outside[v1alpha1.ReasonPodDeleted])
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		if reason := fromOutside(pod); reason != "" {
			return gone(reason, outside[reason])
		}
		return gone(v1alpha1.ReasonPodDeleted, "the pod has ended")
	}
	if since, lost := lostSince(pod); lost {
		o := limited(Observation{Reason: v1alpha1.ReasonNodeLost, Message: "the node of the pod does not answer any more"}, since, nodeLostLimit, now)
		o.Recheck = soonest(o.Recheck)
		if o.State == StateWaiting {
			o.State = StateRunning
		}
		return o
	}
	status := ContainerStatus(pod, w.Container)
	switch {
	case status == nil || status.State.Running == nil && !w.Begun:
		return notBegun(w, "the sidecar of pod "+pod.Name+" does not run", now)
	case status.RestartCount-w.Restarts >= maxRestarts:
		why := "it ended"
		if t := status.LastTerminationState.Terminated; t != nil {
			why = cut(t.Reason, 64)
		}
		return gone(v1alpha1.ReasonSidecarNotReady, fmt.Sprintf("the sidecar of pod %s was started again %d times while it worked (%s): does it need more memory (containerRuntimeSettings.resources)?",
			pod.Name, maxRestarts, why))
	case !w.Begun:
		return notBegun(w, "the sidecar of pod "+pod.Name+" does not begin: its log says why", now)
	}
	return Observation{State: StateRunning, Reason: v1alpha1.ReasonRunning, Recheck: sidecarPoll}
}

// NoSidecar tells how it is when since then nobody was found who could be given the work. message says why.
func NoSidecar(since time.Time, message string, now time.Time) Observation {
	return notBegun(SidecarAtWork{Since: since}, message, now)
}

func notBegun(w SidecarAtWork, message string, now time.Time) Observation {
	o := limited(Observation{Reason: v1alpha1.ReasonSidecarNotReady, Message: message}, w.Since, sidecarLimit, now)
	o.Recheck = soonest(o.Recheck)
	return o
}

// soonest is when to look again at what is not watched.
func soonest(recheck time.Duration) time.Duration {
	if recheck == 0 {
		return 0
	}
	return min(recheck, sidecarPoll)
}

// ContainerStatus is that of a native sidecar's container, nil where the pod has none of that name.
func ContainerStatus(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for i := range pod.Status.InitContainerStatuses {
		if pod.Status.InitContainerStatuses[i].Name == name {
			return &pod.Status.InitContainerStatuses[i]
		}
	}
	return nil
}
