package observe_test

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/internal/task/observe"
)

func TestEnded(t *testing.T) {
	of := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) []batchv1.JobCondition {
		return []batchv1.JobCondition{{Type: kind, Status: status}}
	}
	for name, tt := range map[string]struct {
		conditions []batchv1.JobCondition
		by         int // the index of the condition with which the Job ended; -1: it has not
	}{
		"new":              {by: -1},
		"complete":         {conditions: of(batchv1.JobComplete, corev1.ConditionTrue)},
		"failed":           {conditions: of(batchv1.JobFailed, corev1.ConditionTrue)},
		"not complete":     {conditions: of(batchv1.JobComplete, corev1.ConditionFalse), by: -1},
		"perhaps failed":   {conditions: of(batchv1.JobFailed, corev1.ConditionUnknown), by: -1},
		"suspended":        {conditions: of(batchv1.JobSuspended, corev1.ConditionTrue), by: -1},
		"will fail":        {conditions: of(batchv1.JobFailureTarget, corev1.ConditionTrue), by: -1},
		"will be complete": {conditions: of(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue), by: -1},
		"failed at last": {
			conditions: slices.Concat(of(batchv1.JobComplete, corev1.ConditionFalse),
				of(batchv1.JobFailureTarget, corev1.ConditionTrue), of(batchv1.JobFailed, corev1.ConditionTrue)),
			by: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			job := &batchv1.Job{Status: batchv1.JobStatus{Conditions: tt.conditions}}
			g.Expect(observe.Ended(job)).To(Equal(tt.by >= 0))
			if tt.by < 0 {
				g.Expect(observe.End(job)).To(BeNil())
				return
			}
			g.Expect(observe.End(job)).To(BeIdenticalTo(&job.Status.Conditions[tt.by]))
		})
	}
}
