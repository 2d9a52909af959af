package initjob

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// A cache can show the end of a Job before the end of its pod, or before the pod itself.
func TestWhyAJobFailedIsAskedOfTheAPIServer(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC))
	owner := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "init", UID: "j", Labels: made("web"),
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(owner, v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind)),
			},
		},
		Status: batchv1.JobStatus{
			Conditions: []batchv1.JobCondition{
				{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, LastTransitionTime: at},
			},
		},
	}
	running := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "init-x", Labels: map[string]string{batchv1.JobNameLabel: job.Name},
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job")),
			},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	message, err := task.EncodeResult(task.Result{
		Version: task.Version, Outcome: task.OutcomeFailed,
		Reason: v1alpha1.ReasonBucketNotFound, Message: "no bucket",
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	ended := running.DeepCopy()
	ended.Status = corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
		Name: task.Container, State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: string(message)},
		},
	}}}
	live := fake.NewClientBuilder().WithObjects(job, ended).Build()
	for name, cache := range map[string]*fake.ClientBuilder{
		"the pod still runs in the cache": fake.NewClientBuilder().WithObjects(job, running),
		"the cache has no pod":            fake.NewClientBuilder().WithObjects(job),
		"the cache has everything":        fake.NewClientBuilder().WithObjects(job, ended),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runner := Runner{Client: cache.Build(), Reader: live, Clock: clocktesting.NewFakePassiveClock(at.Time)}
			progress, err := runner.Run(t.Context(), Request{Owner: owner, Label: label, Name: job.Name})
			g := NewWithT(t)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(progress).To(Equal(Progress{
				State: observe.StateFailed, Reason: v1alpha1.ReasonBucketNotFound,
				Message: "no bucket", After: lookAgain,
			}))
		})
	}
}
