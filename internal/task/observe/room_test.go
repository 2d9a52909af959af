package observe_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// reader returns a Job that reads a volume, and its pod, after change.
func reader(name string, change func(*batchv1.Job, *corev1.Pod)) (batchv1.Job, corev1.Pod) {
	job := batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(began),
		Labels: map[string]string{v1alpha1.LabelReads: "archive"},
	}}
	pod := podWith(func(p *corev1.Pod) {
		p.Name, p.Labels, p.Status.Phase = name+"-abcde", map[string]string{v1alpha1.LabelReads: "archive"},
			corev1.PodRunning
		podCondition(corev1.PodScheduled, corev1.ConditionTrue, "")(p)
	})
	if change != nil {
		change(&job, pod)
	}
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&job,
		batchv1.SchemeGroupVersion.WithKind("Job"))}
	return job, *pod
}

func TestWhoHasTheRoomOfAPodThatMustShareANode(t *testing.T) {
	now := began.Add(10 * time.Minute)
	end := func(kind batchv1.JobConditionType, ago time.Duration) func(*batchv1.Job, *corev1.Pod) {
		return func(job *batchv1.Job, pod *corev1.Pod) {
			c := ended(kind, "")
			c.LastTransitionTime = metav1.NewTime(now.Add(-ago))
			job.Status.Conditions = []batchv1.JobCondition{c}
			pod.Status.Phase = corev1.PodSucceeded
		}
	}
	unplaced := func(reason string) func(*batchv1.Job, *corev1.Pod) {
		return func(_ *batchv1.Job, pod *corev1.Pod) {
			pod.Status.Phase, pod.Status.Conditions = corev1.PodPending, nil
			podCondition(corev1.PodScheduled, corev1.ConditionFalse, reason)(pod)
		}
	}
	lost := func(_ *batchv1.Job, pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: began} }
	for name, tt := range map[string]struct {
		other     func(*batchv1.Job, *corev1.Pod)
		no        string // what does not exist
		taker     string
		elsewhere bool
	}{
		"one that works": {other: nil, taker: "other"},
		"one that was made later, and before the time was up": {
			other: func(job *batchv1.Job, _ *corev1.Pod) {
				job.CreationTimestamp = metav1.NewTime(began.Add(4 * time.Minute))
			}, taker: "other",
		},
		// Else a session that runs all the time would keep others waiting for ever.
		"one that came when the time was up": {
			other: func(job *batchv1.Job, _ *corev1.Pod) {
				job.CreationTimestamp = metav1.NewTime(began.Add(6 * time.Minute))
			}, elsewhere: true,
		},
		"one whose volumes are being mounted": {
			other: func(_ *batchv1.Job, pod *corev1.Pod) { pod.Status.Phase = corev1.PodPending }, taker: "other",
		},
		"one that has no node either": {other: unplaced(corev1.PodReasonUnschedulable)},
		"one that reads another volume": {
			other: func(job *batchv1.Job, pod *corev1.Pod) {
				job.Labels, pod.Labels = nil, nil
			},
		},
		"one whose node was lost": {other: lost, elsewhere: true},
		"one whose node is about to be given up": {
			other: func(_ *batchv1.Job, pod *corev1.Pod) {
				pod.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Minute)}
			}, taker: "other",
		},
		"one whose node was lost, and its Job is gone": {other: lost, no: "Job", elsewhere: true},

		"one that has just ended":  {other: end(batchv1.JobComplete, 30*time.Second), taker: "other"},
		"one that has just failed": {other: end(batchv1.JobFailed, 30*time.Second), taker: "other"},
		"one that ended":           {other: end(batchv1.JobComplete, 2*time.Minute)},
		"one that waits to be let go": {
			other: func(job *batchv1.Job, _ *corev1.Pod) { job.Spec.Suspend = new(true) }, no: "pod",
		},
	} {
		t.Run(name, func(t *testing.T) {
			own, pod := reader("own", unplaced(corev1.PodReasonUnschedulable))
			other, others := reader("other", tt.other)
			jobs, pods := []batchv1.Job{own, other}, []corev1.Pod{pod, others}
			switch tt.no {
			case "Job":
				jobs = jobs[:1]
			case "pod":
				pods = pods[:1]
			}
			taker, elsewhere := observe.Room(&own, jobs, pods, now)
			NewWithT(t).Expect(taker).To(Equal(tt.taker))
			NewWithT(t).Expect(elsewhere).To(Equal(tt.elsewhere))
		})
	}
}

// The lists of a cache have no order. To name another Job each time would be a write and an event at each look.
func TestTheRoomIsThatOfTheSameJobInWhateverOrderTheJobsCome(t *testing.T) {
	t.Parallel()
	g, now := NewWithT(t), began.Add(10*time.Minute)
	own, pod := reader("own", func(_ *batchv1.Job, pod *corev1.Pod) {
		pod.Status.Phase, pod.Status.Conditions = corev1.PodPending, nil
		podCondition(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable)(pod)
	})
	later := func(job *batchv1.Job, _ *corev1.Pod) {
		job.CreationTimestamp = metav1.NewTime(began.Add(time.Minute))
	}
	a, podOfA := reader("a", later)
	b, podOfB := reader("b", nil)
	c, podOfC := reader("c", nil)
	pods := []corev1.Pod{pod, podOfA, podOfB, podOfC}
	for _, jobs := range [][]batchv1.Job{{own, a, b, c}, {c, b, a, own}, {a, c, own, b}} {
		taker, _ := observe.Room(&own, jobs, pods, now)
		g.Expect(taker).To(Equal("b"), "the oldest, then by name")
	}
}
