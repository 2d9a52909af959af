package keeper

import (
	"cmp"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// ResultOf returns the result of the i-th repository of a keeper's Job. A repository without a result failed with the
// reason of the Job. A reason with which only the manager waits becomes Failed. RemovalPending stays: deleted data came
// back, and Cairn deletes it again.
func ResultOf(o observe.Observation, i int) task.ComponentResult {
	if o.Result != nil {
		for _, c := range o.Result.Components {
			if c.Name == strconv.Itoa(i) {
				c.Reason = reasonOf(c.Reason)
				c.Error = cmp.Or(c.Error, c.Reason)
				return c
			}
		}
	}
	reason := reasonOf(o.Reason)
	if o.State == observe.StateSucceeded {
		reason = v1alpha1.ReasonFailed
	}
	return task.ComponentResult{
		Outcome: task.OutcomeFailed, Reason: reason,
		Error: cmp.Or(o.Message, "the keeper reported no result"),
	}
}

// reasonOf returns the reason of a failed Job.
func reasonOf(reported string) string {
	if reported == "" || retention.Waits(reported) && reported != v1alpha1.ReasonRemovalPending {
		return v1alpha1.ReasonFailed
	}
	return reported
}

// Final reports whether a keeper's Job needs no further observation: it has ended or hangs.
func Final(o observe.Observation) bool {
	return o.State == observe.StateSucceeded || o.State == observe.StateFailed
}

// EndOf returns when a Job ended. A Job that hangs is given up now.
func EndOf(job *batchv1.Job, now metav1.Time) metav1.Time {
	if c := observe.End(job); c != nil {
		return c.LastTransitionTime
	}
	return now.Rfc3339Copy()
}
