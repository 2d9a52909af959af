package keeper_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// Nobody knows which of several Repositories took the memory of a keeper. So no check counts as tried, and each
// Repository gets a Job for itself.
func TestAKeeperThatWasKilledForItsMemoryWorksInOneRepositoryAtATime(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	of := func(r *v1alpha1.Repository) *shop {
		return &shop{t: t, namespace: s.namespace, storage: s.storage, repository: r}
	}
	first, other := of(s.newRepository("first")), of(s.newRepository("other"))
	first.dueFor(task.MaintainQuick)
	busy, _ := s.job()
	older := s.moved()
	other.dueFor(task.MaintainFull)
	bed.Cached(t, s.repository)
	bed.Cached(t, other.repository)
	s.did(busy, "")

	killed := corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}
	job, keep := s.job(busy)
	g.Expect(keep.Keep).To(HaveLen(2))
	endPod(t, job, killed)
	gone(t, job, "the Job has ended")
	bed.Quiet(t, s.namespace)
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "or until eight days after one was tried")

	lease := leaseOf(t, job)
	bed.Edit(t, lease, func() { // as if it was an hour ago
		attempts := keeper.ParseAttempts(lease.Annotations[v1alpha1.AnnotationAttempts])
		for name, a := range attempts {
			a.At = metav1.NewTime(now.Now().Add(-time.Hour))
			attempts[name] = a
		}
		var err error
		lease.Annotations[v1alpha1.AnnotationAttempts], err = attempts.Encode()
		g.Expect(err).NotTo(HaveOccurred())
	})
	g.Eventually(func(g Gomega) { // now stands still: nothing is due again
		_, err := keepers.Reconcile(t.Context(), s.request())
		g.Expect(err).NotTo(HaveOccurred())
		var jobs batchv1.JobList
		g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(s.namespace),
			client.HasLabels{v1alpha1.LabelKeeper})).To(Succeed())
		g.Expect(jobs.Items).NotTo(BeEmpty())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the next Job begins")

	worked := map[string]bool{}
	for range 2 {
		job, keep = s.job(job)
		g.Expect(keep.Keep).To(HaveLen(1))
		name := keep.Keep[0].Repository.Name
		if worked[name] = true; name == s.repository.Name {
			endPod(t, job, killed, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				Reason: corev1.PodReasonTerminationByKubelet,
			})
		} else {
			s.did(job, "")
		}
	}
	g.Expect(worked).To(Equal(map[string]bool{"web": true, "other": true}))
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "but at most until")
	expectKept(t, older)
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(s.repository.Status.CheckTriedTime).NotTo(BeNil())
	}, "its own check took the memory, whoever evicted it then")
}

// endPod ends the pod of a keeper without a Result, and so its Job.
func endPod(t *testing.T, job *batchv1.Job, end corev1.ContainerStateTerminated, also ...corev1.PodCondition) {
	t.Helper()
	pod := kubelet.Start(t, bed.Client, job)
	bed.EditStatus(t, pod, func() {
		pod.Status.Phase, pod.Status.Conditions = corev1.PodFailed, append(pod.Status.Conditions, also...)
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: task.Container, State: corev1.ContainerState{Terminated: &end},
		}}
	})
	bed.EditStatus(t, job, func() {
		at := metav1.NewTime(now.Now())
		job.Status.StartTime, job.Status.Failed = &at, 1
		for _, kind := range []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed} {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
				Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: at, Reason: "BackoffLimitExceeded",
			})
		}
	})
}

// With too little memory even to start, a keeper has not looked at anything, whoever raises the limit later.
func TestACheckThatWasNotStartedWasNotTried(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	older := s.moved()
	job, _ := s.job()
	endPod(t, job, corev1.ContainerStateTerminated{
		ExitCode: 128, Reason: "StartError", Message: "container init was OOM-killed (memory limit too low?)",
	})
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonOutOfMemory))
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionChecked)).
			To(ContainSubstring("of the BackupStorage"))
	}, "the check failed")
	bed.Quiet(t, s.namespace)
	s.expectRetention(s.repository, v1alpha1.ReasonNotChecked, "or until eight days after one was tried")
	expectKept(t, older)
}
