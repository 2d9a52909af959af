package observe

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// oomKilled is the reason of a container that the kernel killed for its memory.
const oomKilled = "OOMKilled"

// tooLittleToStart lists what runtimes say about a memory limit that is too low for what they do themselves in a new
// container, as it can be with huge pages.
var tooLittleToStart = []string{
	"OOM-killed",                             // runc
	"unable to set memory limit",             // runc
	"OOM: the memory limit could be too low", // crun
}

// diedAtStart lists what they say if the process died a moment later, when it was ready to be started.
var diedAtStart = []string{
	"cannot start a stopped process",            // the shim of containerd
	"cannot start a container that has stopped", // runc
	"container process is already dead",         // runc
}

// outOfMemory reports whether a container that has ended had too little memory. Of one that was not started the caller
// must know that its pod was not ended from outside.
func outOfMemory(pod *corev1.Pod, s *corev1.ContainerStatus) bool {
	end := s.State.Terminated
	if !notStarted(end) {
		return end.Reason == oomKilled
	}
	says := func(words string) bool { return strings.Contains(end.Message, words) }
	return slices.ContainsFunc(tooLittleToStart, says) ||
		slices.ContainsFunc(diedAtStart, says) && hasMemoryLimit(pod, s.Name)
}

// workerOutOfMemory says that the worker of a pod, which must have ended, was outOfMemory, and what to do.
func workerOutOfMemory(pod *corev1.Pod) string {
	who, field := memoryLimit(pod)
	what, advice := tooLittleMemory(pod, worker(pod), field)
	return who + " " + what + ": " + advice
}

// tooLittleMemory says what happened to a container that was outOfMemory, and what to do if field has its limit. Why
// one was not started nobody knows for sure: a seccomp profile or a node without memory can also kill it. A kubelet
// says OOMKilled also where the node ran out of memory, and the container was far from its limit.
func tooLittleMemory(pod *corev1.Pod, s *corev1.ContainerStatus, field string) (what, advice string) {
	if notStarted(s.State.Terminated) {
		return "could not be started, most often because its memory limit is too low",
			"raise " + field + ". If that does not help, " + seeWhy(pod)
	}
	return "was killed for its memory",
		"raise " + field + ". If the container has no limit, or was far from it, the node ran out of memory"
}

// hasMemoryLimit reports whether a container of a pod has a limit of memory.
func hasMemoryLimit(pod *corev1.Pod, container string) bool {
	return slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers),
		func(c corev1.Container) bool { return c.Name == container && !c.Resources.Limits.Memory().IsZero() })
}

// policyMemoryLimit is where a policy limits the memory of its movers, and of steps whose Function does not.
const policyMemoryLimit = "addon.jobTemplate.spec.resources.limits.memory, or " +
	"addon.containerRuntimeSettings.resources.limits.memory if that is set"

// memoryLimit returns what works in a pod, and the field that limits its memory.
func memoryLimit(pod *corev1.Pod) (who, field string) {
	if isFunction(pod) {
		return "the Function's container", "runtimeSettings.resources.limits.memory of the Function, or " +
			"runtimeSettings.container.resources.limits.memory of the hook if that sets it"
	}
	if ofStorage(pod) {
		return "the mover", "runtimeSettings.container.resources.limits.memory of the BackupStorage"
	}
	return "the mover", policyMemoryLimit
}
