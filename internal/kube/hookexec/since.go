package hookexec

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/workload"
)

// lostSince returns since when, at the earliest, what an earlier hook froze in a pod can have changed. It is nil if a
// hook after the work finds all as it was. p is the pod that this hook acts in, out what the status keeps of it, and
// status that of its container. all are the pods among which both choose.
func lostSince(
	was v1alpha1.HookPod, p *corev1.Pod, out *v1alpha1.HookPod, status *corev1.ContainerStatus, all []corev1.Pod,
	began time.Time,
) *metav1.Time {
	var since *metav1.Time
	i := slices.IndexFunc(all, func(o corev1.Pod) bool { return is(&o, was) })
	ends := i >= 0 && terminates(&all[i])
	if ends {
		since = earlier(toldToEnd(&all[i]), besides(was, all, began))
	}
	switch {
	case !is(p, was) && ends: // A pod that is older than the run tells nothing: it was there all the time.
		return since
	case !is(p, was):
		return replacedSince(was, p, all, began)
	case hookstage.Restarted(was, *out):
		return earlier(since, endOf(p, status, was.ContainerID))
	}
	return since
}

// replacedSince returns since when, at the earliest, a frozen pod that is gone can have ended: the pod that was made in
// its place tells. If there is none, nobody knows, and it can have been at once.
func replacedSince(was v1alpha1.HookPod, p *corev1.Pod, all []corev1.Pod, began time.Time) *metav1.Time {
	first := besides(was, all, began)
	if first == nil {
		return new(metav1.NewTime(began))
	}
	// The later pod of a StatefulSet was made after the whole grace period of the earlier one, and a rollout can have
	// made another one before. A pod that is older than the run was there all the time.
	made := p.CreationTimestamp
	if made.Time.Before(began) {
		made = *first
	}
	grace := ptr.Deref(p.Spec.TerminationGracePeriodSeconds, 0)
	return earlier(new(metav1.NewTime(made.Add(-time.Duration(grace)*time.Second))), first)
}

// toldToEnd returns when a pod that terminates was told to. Its containers shut down since.
func toldToEnd(p *corev1.Pod) *metav1.Time {
	grace := ptr.Deref(p.DeletionGracePeriodSeconds, 0)
	return new(metav1.NewTime(p.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)))
}

// besides returns when the first pod was made that runs beside a frozen one and is not older than the run: a rollout
// makes the next pod before it ends the last. It is nil if there is none. A transient pod takes the place of no other.
func besides(frozen v1alpha1.HookPod, all []corev1.Pod, began time.Time) (first *metav1.Time) {
	for i := range all {
		p := &all[i]
		if !is(p, frozen) && p.Status.Phase == corev1.PodRunning && !p.CreationTimestamp.Time.Before(began) &&
			!workload.Transient(p) {
			first = earlier(first, &p.CreationTimestamp)
		}
	}
	return first
}

// endOf returns when the container with this ID, whose successor has a status, ended. If it was not the last one before
// that, nobody knows: then it is when the pod was made.
func endOf(p *corev1.Pod, status *corev1.ContainerStatus, id string) *metav1.Time {
	if last := status.LastTerminationState.Terminated; last != nil && shortID(last.ContainerID) == id {
		return last.FinishedAt.DeepCopy()
	}
	return p.CreationTimestamp.DeepCopy()
}

// earlier returns a copy of the earlier of two times. Nil is none.
func earlier(a, b *metav1.Time) *metav1.Time {
	if a == nil || b != nil && b.Before(a) {
		return b.DeepCopy()
	}
	return a.DeepCopy()
}
