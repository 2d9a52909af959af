package observe

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// sidecarLimit is how long a sidecar can take to begin its work, and how long the manager looks for a sidecar that
	// can do it.
	sidecarLimit = 5 * time.Minute
	// maxRestarts is how often the sidecar's container can restart while it works on the same thing.
	maxRestarts = 3
	// sidecarPoll is how often the pod is observed: pods of workloads are not watched.
	sidecarPoll = 10 * time.Second
)

// SidecarAtWork describes a sidecar that was given work.
type SidecarAtWork struct {
	// Container is the name of the sidecar's container.
	Container string
	// Since is when the sidecar could have begun.
	Since time.Time
	// Begun reports whether it has begun.
	Begun bool
	// Restarts is the container's restart count from before the work.
	Restarts int32
}

// ObserveSidecar returns the state of a sidecar's work as if it were a Job's. It looks at the pod, which is nil if it
// is gone. The caller must read the state of the components.
func ObserveSidecar(pod *corev1.Pod, w SidecarAtWork, now time.Time) Observation {
	gone := func(reason, message string) Observation {
		return Observation{State: StateFailed, Reason: reason, Message: message}
	}
	switch {
	case pod == nil:
		return gone(v1alpha1.ReasonPodDeleted, outsideReasons[v1alpha1.ReasonPodDeleted])
	case PodEnded(pod):
		if reason := fromOutside(pod); reason != "" {
			return gone(reason, outsideReasons[reason])
		}
		return gone(v1alpha1.ReasonPodDeleted, "the pod has ended")
	}
	if since, lost := LostSince(pod); lost {
		o := limited(Observation{Reason: v1alpha1.ReasonNodeLost, Message: "the node of the pod no longer answers"},
			since, nodeLostLimit, now)
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
			why = text.Cut(t.Reason, 64)
		}
		return gone(v1alpha1.ReasonSidecarNotReady,
			fmt.Sprintf("the sidecar of pod %s restarted %d times while it worked (%s): raise its memory limit in "+
				"containerRuntimeSettings.resources if it needs more",
				pod.Name, maxRestarts, why))
	case !w.Begun:
		return notBegun(w, "the sidecar of pod "+pod.Name+" does not begin its work: see its log", now)
	}
	return Observation{State: StateRunning, Reason: v1alpha1.ReasonRunning, Recheck: sidecarPoll}
}

// NoSidecar returns the state when no sidecar has been found for the work since then. message explains why. notBegun
// does not say Unbegun, because a sidecar that has the work can have begun it without a report.
func NoSidecar(since time.Time, message string, now time.Time) Observation {
	o := notBegun(SidecarAtWork{Since: since}, message, now)
	o.Unbegun = true
	return o
}

func notBegun(w SidecarAtWork, message string, now time.Time) Observation {
	o := limited(Observation{Reason: v1alpha1.ReasonSidecarNotReady, Message: message}, w.Since, sidecarLimit, now)
	o.Recheck = soonest(o.Recheck)
	return o
}

// soonest returns when to look again at a pod that is not watched.
func soonest(recheck time.Duration) time.Duration {
	if recheck == 0 {
		return 0
	}
	return min(recheck, sidecarPoll)
}

// ContainerStatus returns the status of a native sidecar's container; nil if the pod has no container of that name.
func ContainerStatus(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for i := range pod.Status.InitContainerStatuses {
		if pod.Status.InitContainerStatuses[i].Name == name {
			return &pod.Status.InitContainerStatuses[i]
		}
	}
	return nil
}
