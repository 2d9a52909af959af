// Package initjobtest plays the Job controller and the kubelet for init Jobs, in tests against an API server that has
// neither.
package initjobtest

import (
	"maps"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/task"
)

const patience = time.Minute

// Job waits for a Job in the namespace that has the label and is none of the objects in not.
func Job(t testing.TB, c client.Client, namespace, label string, not ...client.Object) *batchv1.Job {
	t.Helper()
	var found *batchv1.Job
	NewWithT(t).Eventually(func(g Gomega) {
		var list batchv1.JobList
		g.Expect(c.List(t.Context(), &list, client.InNamespace(namespace), client.HasLabels{label})).To(Succeed())
		found = nil
		for i := range list.Items {
			job := &list.Items[i]
			g.Expect(collect(t, c, job)).To(Succeed())
			known := !job.DeletionTimestamp.IsZero()
			for _, o := range not {
				known = known || o.GetUID() == job.UID
			}
			if !known {
				found = job
			}
		}
		g.Expect(found).NotTo(BeNil())
	}, patience, 50*time.Millisecond).Should(Succeed(), "an init Job is created")
	return found
}

// collect plays the garbage collector for Jobs that wait for their pods to be deleted.
func collect(t testing.TB, c client.Client, job *batchv1.Job) error {
	if job.DeletionTimestamp.IsZero() || len(job.Finalizers) == 0 {
		return nil
	}
	job.Finalizers = nil
	return client.IgnoreNotFound(c.Update(t.Context(), job))
}

// Start creates the Job's pod, and replaces the pod of an earlier Job with that name.
func Start(t testing.TB, c client.Client, job *batchv1.Job) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: job.Name + "-vwxyz",
			Labels: maps.Clone(job.Spec.Template.Labels), Annotations: job.Spec.Template.Annotations,
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job")),
			},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: task.Container, Image: "none"}}},
	}
	pod.Labels[batchv1.JobNameLabel] = job.Name
	g := NewWithT(t)
	g.Expect(client.IgnoreNotFound(c.Delete(t.Context(), pod.DeepCopy(), client.GracePeriodSeconds(0)))).To(Succeed(),
		"delete the pod of the earlier Job")
	g.Expect(c.Create(t.Context(), pod)).To(Succeed())
	return pod
}

// Finish ends a Job with the Result of its mover.
func Finish(t testing.TB, c client.Client, job *batchv1.Job, result task.Result, at time.Time) {
	t.Helper()
	g := NewWithT(t)
	message, err := task.EncodeResult(result)
	g.Expect(err).NotTo(HaveOccurred())
	pod := Start(t, c, job)
	ended := corev1.ContainerStateTerminated{Message: string(message)}
	if result.Outcome == task.OutcomeFailed {
		ended.ExitCode = int32(task.ExitCode(result.Reason))
	}
	pod.Status.Phase = corev1.PodSucceeded
	if result.Outcome == task.OutcomeFailed {
		pod.Status.Phase = corev1.PodFailed
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name:  task.Container,
		State: corev1.ContainerState{Terminated: &ended},
	}}
	g.Expect(c.Status().Update(t.Context(), pod)).To(Succeed())

	when := metav1.NewTime(at)
	conditions := []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
	job.Status.StartTime, job.Status.CompletionTime = &when, &when
	if result.Outcome == task.OutcomeFailed {
		conditions = []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
		job.Status.CompletionTime = nil
	}
	for _, kind := range conditions {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, Reason: "Test", LastTransitionTime: when, LastProbeTime: when,
		})
	}
	g.Expect(c.Status().Update(t.Context(), job)).To(Succeed())
}
