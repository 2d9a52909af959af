package observe

import (
	"cmp"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// roomLimit is how long the scheduler needs at most to see that a pod has ended, and to give its room to another one.
const roomLimit = time.Minute

// Room says why the pod of a Job finds no node that it must share with the other readers of a volume (see
// v1alpha1.LabelReads). taker is the Job for whose room it can wait: the other Job works, or has just ended. It was
// made before own was overdue, else others could go first for ever. Of several it is the oldest: a status names it, and
// the lists of a cache have no order. Without a taker, elsewhere reports whether the pod of another reader is there all
// the same, for example on a node that was lost.
func Room(
	own *batchv1.Job, jobs []batchv1.Job, pods []corev1.Pod, now time.Time,
) (taker string, elsewhere bool) {
	reads := own.Labels[v1alpha1.LabelReads]
	var oldest *batchv1.Job
	for i := range jobs {
		other := &jobs[i]
		if other.Name != own.Name && other.Labels[v1alpha1.LabelReads] == reads && hasRoom(other, pods, now) &&
			other.CreationTimestamp.Sub(own.CreationTimestamp.Time) <= UnscheduledLimit &&
			(oldest == nil || compareAge(other, oldest) < 0) {
			oldest = other
		}
	}
	if oldest != nil {
		return oldest.Name, false
	}
	for i := range pods {
		p := &pods[i]
		placed := podCondition(p, corev1.PodScheduled)
		if p.Labels[v1alpha1.LabelReads] == reads && !metav1.IsControlledBy(p, own) && !PodEnded(p) &&
			placed != nil && placed.Status == corev1.ConditionTrue {
			return "", true
		}
	}
	return "", false
}

// compareAge orders Jobs of a namespace: the oldest first, then by name.
func compareAge(a, b *batchv1.Job) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// hasRoom reports whether a Job has the room of a pod on a node, or has just left it.
func hasRoom(job *batchv1.Job, pods []corev1.Pod, now time.Time) bool {
	if end := End(job); end != nil {
		return !Lasted(end.LastTransitionTime.Time, now, roomLimit)
	}
	o := Observe(job, pods, now)
	return o.State == StateRunning ||
		o.State == StateWaiting && o.Reason != v1alpha1.ReasonUnschedulable && !o.Suspended()
}
