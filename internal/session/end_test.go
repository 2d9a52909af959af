package session_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
)

// These cases end a run by something else than its movers: its deadline, a refusal, its deletion.
func TestEndOfABackup(t *testing.T) {
	tests := map[string]runCase{
		"the deadline ends what runs and keeps what ended": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"), target("b", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				f.jobs[job("b", "pod-0", 1)] = running()
				f.at = now.Add(time.Hour)
				return f
			},
			want: runWant{phase: backupFailed, reason: v1alpha1.ReasonDeadlineExceeded, targets: []string{
				"Succeeded/Succeeded", "Failed/DeadlineExceeded",
			},
				delete: []string{job("b", "pod-0", 1)}, verify: true, partial: true},
		},
		"the deadline ends what never began": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.snapshots = nil
				f.at = now.Add(2 * time.Hour)
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonDeadlineExceeded,
				targets: []string{"Failed/DeadlineExceeded"},
			},
		},
		"a storage that is no longer allowed": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.refused["snap-a"] = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonStorageNotAllowed, Message: "m"}
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonStorageNotAllowed,
				targets: []string{"Failed/StorageNotAllowed"}, verify: true,
			},
		},
		"a Snapshot whose name is taken": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.snapshots = nil
				f.refused["snap-a"] = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonNameConflict, Message: "m"}
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonNameConflict, targets: []string{"Failed/NameConflict"},
			},
		},
		"deleted while it runs: the Jobs go first": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0", "pod-1"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				f.jobs[job("a", "pod-1", 1)] = running()
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: runWant{
				phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				delete: []string{job("a", "pod-0", 1), job("a", "pod-1", 1)},
			},
		},
		"deleted while it runs: then the pods": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.pods = 1
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: runWant{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}},
		},
		"deleted while it runs: then it has failed": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"},
				verify: true,
			},
		},
		"deleted while it runs: pods that never go are not waited for": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.pods = 1
				f.jobs[job("a", "pod-0", 1)] = running()
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at.Add(-session.WaitForPods)}
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"},
				verify: true,
			},
		},
		"deleted when everything was done: it has succeeded": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: runWant{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, tt.check)
	}
}
