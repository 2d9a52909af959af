package movers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/internal/task"
)

func TestWhenKubernetesIsDoneWithAJob(t *testing.T) {
	for name, tc := range map[string]struct {
		status batchv1.JobStatus
		want   bool
	}{
		"it runs":      {status: batchv1.JobStatus{Active: 1}},
		"it succeeded": {status: with(batchv1.JobComplete), want: true},
		"it failed":    {status: with(batchv1.JobFailed), want: true},
		"it is about to fail, and its pod was deleted":           {status: with(batchv1.JobFailureTarget), want: true},
		"it is about to fail, and its pod has not ended":         {status: batchv1.JobStatus{Active: 1, Conditions: with(batchv1.JobFailureTarget).Conditions}},
		"it is about to fail, and its pod is just being stopped": {status: batchv1.JobStatus{Terminating: ptr.To[int32](1), Conditions: with(batchv1.JobFailureTarget).Conditions}},
	} {
		t.Run(name, func(t *testing.T) {
			got := observe(&batchv1.Job{Status: tc.status}, nil, time.Time{})
			NewWithT(t).Expect(got.Finished).To(Equal(tc.want))
			if tc.want && tc.status.Conditions[0].Type != batchv1.JobComplete {
				NewWithT(t).Expect(got.State).To(Equal(task.StateFailed))
			}
		})
	}
}

func with(kind batchv1.JobConditionType) batchv1.JobStatus {
	return batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue}}}
}
