package observe

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

// programEnd returns the status of the container that runs a stream's programs as it was when the container ended last,
// or nil if it never has. The kubelet starts it again, and the mover decides what its end means.
func programEnd(pod *corev1.Pod) *corev1.ContainerStatus {
	if pod == nil {
		return nil
	}
	s := ContainerStatus(pod, task.ProgramContainer)
	if s == nil {
		return nil
	}
	end := s.LastTerminationState.Terminated
	if now := s.State.Terminated; now != nil && (end == nil || now.Reason == oomKilled) {
		end = now
	}
	if end == nil {
		return nil
	}
	out := s.DeepCopy()
	out.State = corev1.ContainerState{Terminated: end}
	return out
}

// programOutOfMemory says that the programs of a mover failed because the kernel killed their container, and what to
// do; "" if that is not known. The mover itself knows only that its program was lost.
func programOutOfMemory(pod *corev1.Pod, r *task.Result) string {
	lost := slices.Contains([]string{v1alpha1.ReasonDumpFailed, v1alpha1.ReasonLoadFailed}, r.Reason)
	if s := programEnd(pod); lost && s != nil && outOfMemory(pod, s) {
		return tooLittleForPrograms(pod, s)
	}
	return ""
}

func tooLittleForPrograms(pod *corev1.Pod, s *corev1.ContainerStatus) string {
	what, advice := tooLittleMemory(pod, s, policyMemoryLimit)
	return "the container with the programs of the database " + what + ": " + advice
}

// programStuck observes a pod whose mover waits for the container with the programs, which ends again and again before
// it has started. It returns nil if that is not so.
func programStuck(pod *corev1.Pod, s *corev1.ContainerStatus) *Observation {
	if s.Name != task.ProgramContainer || s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" {
		return nil
	}
	end := programEnd(pod)
	if end != nil && outOfMemory(pod, end) {
		return &Observation{Reason: v1alpha1.ReasonOutOfMemory, Message: tooLittleForPrograms(pod, end)}
	}
	return &Observation{Reason: v1alpha1.ReasonPodNotStarted, Message: text.Cut("the container with the programs of "+
		"the database, of the image "+s.Image+", can't be started: "+seeWhy(pod), 512)}
}
