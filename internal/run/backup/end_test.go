package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// These cases end a run by something else than its movers: its deadline, a refusal, its deletion.
func TestEndOfABackup(t *testing.T) {
	tests := map[string]runCase{
		"the deadline ends what runs and keeps what ended": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"), runtest.Target("b", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
				f.jobs[runtest.Job("b", "pod-0", 1)] = runtest.Running()
				f.at = runtest.Now.Add(time.Hour)
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonDeadlineExceeded, targets: []string{
					"Succeeded/Succeeded", "Failed/DeadlineExceeded",
				},
				delete: []string{runtest.Job("b", "pod-0", 1)}, verify: true, partial: true,
			},
		},
		"the deadline ends what never began": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.snapshots = nil
				f.at = runtest.Now.Add(2 * time.Hour)
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonDeadlineExceeded,
				targets: []string{"Failed/DeadlineExceeded"},
			},
		},
		"a storage that is no longer allowed": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
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
				f := frozen(runtest.Target("a", "pod-0"))
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
				f := frozen(runtest.Target("a", "pod-0", "pod-1"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
				f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Running()
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: runWant{
				phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				delete: []string{runtest.Job("a", "pod-0", 1), runtest.Job("a", "pod-1", 1)},
			},
		},
		"deleted while it runs: then the pods": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.pods = 1
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: runWant{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}},
		},
		"deleted while it runs: then it has failed": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
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
				f := frozen(runtest.Target("a", "pod-0"))
				f.pods = 1
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Running()
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at.Add(-run.WaitForPods)}
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"},
				verify: true,
			},
		},
		"deleted by a clock that was a year ahead: the Job goes first": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Running()
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at.AddDate(1, 0, 0)}
				return f
			},
			want: runWant{
				phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				delete: []string{runtest.Job("a", "pod-0", 1)},
			},
		},
		"deleted when everything was done: it has succeeded": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
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

// Nothing stops a command in a container. A freeze that ended after the thaw would stay.
func TestTheThawOfAStoppedRunComesAfterItsFreeze(t *testing.T) {
	for name, out := range map[string]*hookstage.Outcome{
		"Succeeded": {}, "Failed": {Reason: v1alpha1.ReasonHookTimeout, Message: "it did not end within 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			h := withHooks(frozen(runtest.Target("db", "pod-0")),
				[]v1alpha1.ResolvedHook{resolvedHook("freeze", retries(3)), resolvedHook("next")},
				[]v1alpha1.ResolvedHook{resolvedHook("thaw")})
			h.look()
			g.Expect(h.decideOnly().Hooks).To(HaveLen(1), "the pre hook must be under way")
			h.session.DeletionTimestamp = &metav1.Time{Time: h.at}
			for range 3 {
				h.at = h.at.Add(15 * time.Second)
				h.look()
				g.Expect(hookPhases(h.session.Status.Hooks.PreHooks)).
					To(Equal([]string{"freeze=Running", "next=Pending"}))
				g.Expect(h.session.Status.Hooks.PostHooks).To(BeEmpty(), "the freeze goes on")
			}
			h.known[hookstage.Attempt{Stage: hookstage.Pre, Name: "freeze", Number: 1}] = out
			h.settle(g)
			g.Expect(hookPhases(h.session.Status.Hooks.PreHooks)).To(Equal([]string{"freeze=" + name, "next=Skipped"}))
			g.Expect(h.made).To(Equal([]string{"thaw#1"}))
			g.Expect(h.session.Status.Reason).To(Equal(v1alpha1.ReasonCancelled))
			g.Expect(h.jobs).To(BeEmpty())
		})
	}
}
