package hookexec

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// idLength is how much of the ID of a container a status keeps. It tells one container from another.
const idLength = 16

// choiceOf returns what the status keeps of a pod in which a hook acts. A container that does not run is not known: the
// one that is started in its place is another one. all are the pods among which it chooses.
func choiceOf(
	p *corev1.Pod, all []corev1.Pod, run *hookstage.Run, action *v1alpha1.HookAction,
) *v1alpha1.HookPod {
	out := &v1alpha1.HookPod{Name: p.Name, UID: p.UID}
	status := acting(p, action)
	if status != nil && status.State.Running != nil {
		out.Container, out.ContainerID = status.Name, shortID(status.ContainerID)
	}
	if run.Stage != hookstage.Post {
		return out
	}
	for _, was := range run.Former {
		out.Since = earlier(out.Since, lostSince(was, p, out, status, all, run.Since))
	}
	return out
}

// acting returns the status of the container in which an action is carried out, or nil if nobody knows which one that
// is: a request to another host is carried out in none, and a port of a pod can belong to any of its containers.
func acting(p *corev1.Pod, action *v1alpha1.HookAction) *corev1.ContainerStatus {
	name := action.ContainerName
	if name == "" && (action.Exec != nil || len(p.Spec.Containers) == 1) {
		name = p.Spec.Containers[0].Name
	}
	if leavesPod(action) {
		return nil
	}
	all := slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses)
	i := slices.IndexFunc(all, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// leavesPod reports whether an action is a request to a host that it names.
func leavesPod(action *v1alpha1.HookAction) bool {
	return action.HTTPGet != nil && action.HTTPGet.Host != "" || action.HTTPPost != nil && action.HTTPPost.Host != "" ||
		action.TCPSocket != nil && action.TCPSocket.Host != ""
}

// shortID returns the beginning of the ID of a container, without the name of the runtime: containerd://0123...
func shortID(id string) string {
	if _, after, found := strings.Cut(id, "://"); found {
		id = after
	}
	return id[:min(len(id), idLength)]
}

// isNoted reports whether the status has the pod in which a hook must act. A hook before the work needs its container
// too: what it did in an earlier one is gone. A hook after the work keeps the first one that it found: that one ran
// when the work was over.
func isNoted(run *hookstage.Run, p *v1alpha1.HookPod) bool {
	known := run.Pod
	switch {
	case known == nil || !hookstage.SamePod(*known, *p):
		return false
	case p.ContainerID == "":
		return true
	case run.Stage == hookstage.Post:
		return known.ContainerID != ""
	default:
		return known.Container == p.Container && known.ContainerID == p.ContainerID
	}
}
