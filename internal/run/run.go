package run

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// How long a run waits for something that can still appear, counted from when the run was first seen.
const (
	// WaitForPolicy is how long a run waits for a PolicySync that is applying a revision.
	WaitForPolicy = 30 * time.Second
	// WaitForChild is how long a run waits for the BackupConfiguration that a BackupBatch makes for a target.
	WaitForChild = time.Minute
	// WaitForRepository is how long a run waits for a Repository that is being initialised.
	WaitForRepository = 5 * time.Minute
	// WaitForDatabase is how long a run waits for a database that is not ready.
	WaitForDatabase = time.Minute
	// WaitForDaemonSet is how long a run waits for the pods of a DaemonSet.
	WaitForDaemonSet = time.Minute
	// WaitForNode is how long a run waits for the nodes of pods that use its volumes, and for the volumes.
	WaitForNode = 3 * time.Minute
	// WaitForMoves is how long a later Job of a run waits in all for pods that are about to move: each can be followed
	// by another one. It is longer than the wait for a node that was lost.
	WaitForMoves = 3 * WaitForNode
	// WaitForPods is how long a cancelled run waits for its pods to end.
	WaitForPods = 2 * time.Minute
	// LateAfter is how long after its slot the success of a session without a timeout counts as late. Such a run is not
	// ended.
	LateAfter = 6 * time.Hour
	// PollInterval is how often a waiting run looks again.
	PollInterval = 10 * time.Second
)

// Bounds returns the timeout and the deadline that a run or restore is frozen with when it starts at start. Both are
// nil if it has no timeout.
func Bounds(timeout time.Duration, start metav1.Time) (*metav1.Duration, *metav1.Time) {
	if timeout == 0 {
		return nil, nil
	}
	deadline := metav1.NewTime(start.Add(timeout))
	return &metav1.Duration{Duration: timeout}, &deadline
}

// Until returns how soon a run or restore with this deadline must look again: never, which is 0, without a deadline.
func Until(deadline *metav1.Time, now time.Time) time.Duration {
	if deadline == nil {
		return 0
	}
	return max(deadline.Sub(now), time.Second)
}

// Job is an observed Job of a run or restore. The work of a sidecar is represented as a Job, too.
type Job struct {
	observe.Observation
	// UID of the Job. It is empty for the work of a sidecar.
	UID types.UID
	// Hook means that the Job belongs to a hook, not to a mover.
	Hook bool
	// Created is when the Job was made.
	Created time.Time
	// Snapshot is the UID of the Snapshot that the Job makes. It is empty if the Job makes none, or does not say.
	Snapshot types.UID
	// Deleted is when somebody deleted the Job, which stays until its pods are gone, or when the manager asked the
	// sidecar to stop. Nil means that nobody did.
	Deleted *metav1.Time
	// Finished means that Kubernetes is done with the Job.
	Finished bool
	// Sidecar means that this is the work of a sidecar, not a Job.
	Sidecar bool
	// Queues means that the pod waits for room on a node that it must share with another Job, which Message names.
	Queues bool
	// Elsewhere means that the pod found no node, because it must share that of a pod for which the Job does not wait:
	// another Job can run elsewhere.
	Elsewhere bool
}

// LacksSidecar reports whether work waits because no pod has a sidecar for it, as its message says.
func (j *Job) LacksSidecar() bool {
	return j.Sidecar && j.Unbegun && j.State == observe.StateWaiting && j.Reason == v1alpha1.ReasonSidecarNotReady
}

// Moves reports whether Jobs of movers exist among these, or sidecars are at work. A deleted Job counts until its pods
// are gone, or could have ended, and a sidecar as long after it was asked to stop.
func Moves(jobs map[string]Job, now time.Time) bool {
	for _, job := range jobs {
		stops := job.Sidecar && job.Deleted != nil &&
			Left(job.Deleted.Add(WaitForPods), WaitForPods, now) == 0
		if !job.Hook && !stops {
			return true
		}
	}
	return false
}

// Event is something that happened to a run or restore.
type Event struct {
	// Type is corev1.EventTypeNormal or corev1.EventTypeWarning.
	Type string
	// Reason is one word.
	Reason string
	// Message is the text of the event.
	Message string
}

// ReasonStarted is the reason of the event that a run or restore has started.
const ReasonStarted = "Started"

// EarlierOf returns the shorter of two durations, where 0 means never.
func EarlierOf(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// FailureReason returns the reason of a failed Result, or "".
func FailureReason(r *task.Result) string {
	if r.Outcome == task.OutcomeFailed {
		return r.Reason
	}
	return ""
}
