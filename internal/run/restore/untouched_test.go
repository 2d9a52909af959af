package restore_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// unbegun is a Job whose mover is known not to have begun.
func unbegun(reason string) run.Job {
	job := runtest.Died(reason, false)
	job.Unbegun = true
	return job
}

// jobReasons are the reasons with which a Job or the work of a sidecar ends without a report of its mover, also those
// that the events of the cluster give it, and whether a mover that is known not to have begun can end so.
var jobReasons = map[string]bool{
	v1alpha1.ReasonUnschedulable: true, v1alpha1.ReasonPodNotCreated: true, v1alpha1.ReasonQuotaExceeded: true,
	v1alpha1.ReasonPodNotStarted: true, v1alpha1.ReasonVolumeMountFailed: true, v1alpha1.ReasonImagePullFailed: true,
	v1alpha1.ReasonStepFailed: true, v1alpha1.ReasonSidecarNotReady: true,
	v1alpha1.ReasonJobFailed: false, v1alpha1.ReasonOutOfMemory: false, v1alpha1.ReasonCancelled: false,
	v1alpha1.ReasonDeadlineExceeded: false, v1alpha1.ReasonEvicted: false, v1alpha1.ReasonPodDeleted: false,
	v1alpha1.ReasonNodeLost: false,
}

// refusals are the reasons for which no Job, or no work of a sidecar, is made. The API server has none of this attempt
// then.
var refusals = []string{
	v1alpha1.ReasonCreationRefused, v1alpha1.ReasonInvalidTask, v1alpha1.ReasonPrivilegeRequired,
	v1alpha1.ReasonVolumeInUse, v1alpha1.ReasonRestoreInProgress, v1alpha1.ReasonVolumeNotBound,
	v1alpha1.ReasonTargetNotFound, v1alpha1.ReasonNameConflict, v1alpha1.ReasonSnapshotNotFound,
	v1alpha1.ReasonSnapshotDamaged, v1alpha1.ReasonRestoreNotAllowed, v1alpha1.ReasonStorageNotAllowed,
	v1alpha1.ReasonStorageNotFound, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonEncryptionSecretNotAvailable,
	v1alpha1.ReasonSidecarNotPossible,
}

// ending is a way in which a restore of one host with two claims fails.
type ending struct {
	job           *run.Job
	refused       string
	seen          bool // there was a Job before
	began         bool // as a mover has reported
	deleted, late bool
	pods          int
	hook          bool // failed before it
	other         bool // host is at work

	reason    string
	untouched bool
}

// fails ends such a restore.
func (e *ending) fails() *v1alpha1.RestoreSession {
	s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "1"}}
	start := restore.Start{Timeout: 2 * time.Hour, Resolved: v1alpha1.ResolvedRestore{
		Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("target", "a", "b")},
	}}
	s.Status = restore.Next(restore.Input{Now: runtest.Now, Session: s, Start: &start}).Status
	in := restore.Input{Now: runtest.Now.Add(time.Hour), Session: s, Pods: e.pods, Jobs: map[string]run.Job{}}
	began := metav1.NewTime(runtest.Now)
	switch {
	case e.began:
		c := v1alpha1.RestoredComponent{Phase: restoreRunning, StartTime: &began}
		s.Status.Components = map[string]v1alpha1.RestoredComponent{"a": c, "b": c}
	case e.seen:
		c := v1alpha1.RestoredComponent{Phase: restorePending}
		s.Status.Components = map[string]v1alpha1.RestoredComponent{"a": c, "b": c}
	}
	if e.job != nil {
		in.Jobs[restore.JobName("r", "target", 1)] = *e.job
	}
	if e.refused != "" {
		in.Refused = map[string]*v1alpha1.ResolvedError{"target": {Reason: e.refused, Message: "m"}}
		s.Status.Conditions = append(s.Status.Conditions,
			metav1.Condition{Type: v1alpha1.ConditionCreationRefused, LastTransitionTime: began})
	}
	if e.hook {
		s.Status.Resolved.Hooks = &v1alpha1.ResolvedHooks{Pre: []v1alpha1.ResolvedHook{{Name: "h"}}}
		s.Status.Hooks = &v1alpha1.HookStatuses{
			PreHooks: []v1alpha1.HookStatus{{Name: "h", Phase: v1alpha1.HookFailed, Attempts: 1}},
		}
	}
	if e.other {
		in.Pods, in.Jobs["another"] = 1, runtest.Running()
	}
	if e.deleted {
		s.DeletionTimestamp = &began
	}
	if e.late {
		in.Now = runtest.Now.Add(2 * time.Hour)
	}
	s.Status = restore.Next(in).Status
	return s
}

// told is a Job whose mover says of its components whether their targets are as they were.
func told(untouched bool) *run.Job {
	job := runtest.Failed(v1alpha1.ReasonUnreachable)
	for _, name := range []string{"a", "b"} {
		job.Result.Components = append(job.Result.Components, task.ComponentResult{
			Name: name, Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable, TargetUntouched: untouched,
		})
	}
	return &job
}

// These are all the ways in which a component fails. It says itself whether its target is as it was, and the mark of
// the target, the end of a RestoreBatch and the next attempt believe it. What is not known is a change.
func TestAComponentThatFailedSaysWhetherItsTargetIsAsItWas(t *testing.T) {
	noResult := &run.Job{Observation: observe.Observation{State: observe.StateSucceeded}}
	waits := &run.Job{Observation: observe.Observation{State: observe.StateWaiting, Unbegun: true}}
	noNode := new(unbegun(v1alpha1.ReasonUnschedulable))
	const cancelled, late = v1alpha1.ReasonCancelled, v1alpha1.ReasonDeadlineExceeded
	tests := map[string]ending{
		"deleted before its Job was made":  {deleted: true, reason: cancelled, untouched: true},
		"deleted with its Job":             {deleted: true, seen: true, reason: cancelled},
		"deleted, and a pod is left":       {deleted: true, pods: 1, reason: cancelled},
		"late before its Job was made":     {late: true, reason: late, untouched: true},
		"late, and a pod is left":          {late: true, pods: 1, reason: late},
		"late while it runs":               {late: true, job: new(runtest.Running()), reason: late},
		"late while its pod waits":         {late: true, job: waits, reason: late, untouched: true},
		"late, and another pod had begun":  {late: true, job: waits, began: true, reason: late},
		"late while its Job is refused":    {late: true, refused: "x", reason: late, untouched: true},
		"its Job vanished":                 {seen: true, reason: v1alpha1.ReasonJobVanished},
		"its Job vanished, it had begun":   {began: true, reason: v1alpha1.ReasonJobVanished},
		"its mover ended without a word":   {job: noResult, reason: v1alpha1.ReasonJobFailed},
		"another pod of the Job had begun": {job: noNode, began: true, reason: v1alpha1.ReasonUnschedulable},
		"its hook failed": {
			hook: true, reason: v1alpha1.ReasonFailedToExecutePreRestoreHooks, untouched: true,
		},
		"another host is at work": {
			other: true, refused: v1alpha1.ReasonVolumeInUse, reason: v1alpha1.ReasonVolumeInUse, untouched: true,
		},
		"its mover refused the task": {
			job: new(runtest.Failed(v1alpha1.ReasonInvalidTask)), reason: v1alpha1.ReasonInvalidTask, untouched: true,
		},
		"its mover says nothing of it": {
			job: new(runtest.Failed(v1alpha1.ReasonVolumeNotEmpty)), reason: v1alpha1.ReasonVolumeNotEmpty,
		},
		"its mover tells that it is":     {job: told(true), reason: v1alpha1.ReasonUnreachable, untouched: true},
		"its mover tells that it is not": {job: told(false), reason: v1alpha1.ReasonUnreachable},
		"another mover may not know":     {job: told(true), began: true, reason: v1alpha1.ReasonUnreachable},
	}
	for reason, unbegins := range jobReasons {
		tests["its Job ended: "+reason] = ending{job: new(runtest.Died(reason, true)), reason: reason}
		if unbegins {
			tests["its mover did not begin: "+reason] = ending{
				job: new(unbegun(reason)), reason: reason, untouched: true,
			}
		}
	}
	for _, reason := range refusals {
		tests["its Job was not made: "+reason] = ending{refused: reason, reason: reason, untouched: true}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g, annotations := NewWithT(t), map[string]string{}
			s := tt.fails()
			g.Expect(s.Status.Phase).To(Equal(restoreFailed))
			g.Expect(s.Status.Reason).To(Equal(tt.reason))
			g.Expect(s.Status.Components).To(HaveLen(2))
			g.Expect(s.Status.Components).To(HaveEach(HaveField("TargetUntouched", tt.untouched)))
			restore.Take(annotations, s, "claim")
			restore.Release(annotations, s, nil, &s.Status, "a", "claim")
			g.Expect(restore.HalfRestored(annotations, "claim") == "").To(Equal(tt.untouched))
			other := tt.hook || tt.reason == v1alpha1.ReasonRestoreInProgress // wrote, or writes
			g.Expect(restore.MayHaveWritten(s)).To(Equal(!tt.untouched || other))
			if tt.untouched {
				g.Expect(s.Status.Components).NotTo(HaveEach(HaveField("Error", ContainSubstring("may hold a part"))))
			}
		})
	}
}
