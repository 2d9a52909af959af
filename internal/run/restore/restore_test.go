package restore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

const (
	restorePending   = v1alpha1.RestoreSessionPending
	restoreRunning   = v1alpha1.RestoreSessionRunning
	restoreSucceeded = v1alpha1.RestoreSessionSucceeded
	restoreFailed    = v1alpha1.RestoreSessionFailed
	restoreInvalid   = v1alpha1.RestoreSessionInvalid
	restoreSkipped   = v1alpha1.RestoreSessionSkipped
)

func TestStartOfARestore(t *testing.T) {
	refused := func(reason string, wait time.Duration) restore.Start {
		return restore.Start{
			Since: runtest.Now, Error: &v1alpha1.ResolvedError{Reason: reason, Message: "m"}, Wait: wait,
		}
	}
	tests := map[string]struct {
		start   restore.Start
		later   time.Duration
		deleted bool
		phase   v1alpha1.RestoreSessionPhase
		reason  string
		ready   bool
	}{
		"everything exists": {phase: restoreRunning, reason: "Running"},
		"the target was filled before": {
			start: restore.Start{AlreadyRestored: true}, phase: restoreSkipped,
			reason: v1alpha1.ReasonAlreadyRestored, ready: true,
		},
		"the target is in use": {
			start: refused(v1alpha1.ReasonVolumeInUse, 0), phase: restoreFailed, reason: v1alpha1.ReasonVolumeInUse,
		},
		"the Snapshot does not exist": {
			start: refused(v1alpha1.ReasonSnapshotNotFound, 0), phase: restoreInvalid,
			reason: v1alpha1.ReasonSnapshotNotFound,
		},
		"the repository is on its way": {
			start: refused(v1alpha1.ReasonRepositoryNotReady, time.Minute), phase: restorePending,
			reason: v1alpha1.ReasonRepositoryNotReady,
		},
		"the repository never came": {
			start: refused(v1alpha1.ReasonRepositoryNotReady, time.Minute), later: time.Minute, phase: restoreFailed,
			reason: v1alpha1.ReasonRepositoryNotReady,
		},
		"the target does not exist yet": {
			start: refused(v1alpha1.ReasonTargetNotFound, time.Minute), phase: restorePending,
			reason: v1alpha1.ReasonTargetNotFound,
		},
		"the target never came": {
			start: refused(v1alpha1.ReasonTargetNotFound, time.Minute), later: time.Minute, phase: restoreInvalid,
			reason: v1alpha1.ReasonTargetNotFound,
		},
		"it was deleted before anything else": {
			start: refused(v1alpha1.ReasonTargetNotFound, time.Minute), deleted: true, phase: restoreFailed,
			reason: v1alpha1.ReasonCancelled,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.RestoreSession{}
			if tt.deleted {
				s.DeletionTimestamp = &metav1.Time{Time: runtest.Now}
			}
			d := restore.Next(restore.Input{Now: runtest.Now.Add(tt.later), Session: s, Start: &tt.start})
			g.Expect(d.Status.Phase).To(Equal(tt.phase))
			g.Expect(d.Status.Reason).To(Equal(tt.reason))
			g.Expect(d.Status.Resolved != nil).To(Equal(tt.phase == restoreRunning))
			g.Expect(d.Create).To(BeEmpty())
			g.Expect(d.Stamp).To(BeFalse())
			g.Expect(d.After > 0).To(Equal(tt.phase == restorePending))
			g.Expect(d.Event).NotTo(BeNil(), "an event must say at once what happened or what it waits for")
			s.Status = d.Status
			g.Expect(conditions.IsTrue(s, meta.ReadyCondition)).To(Equal(tt.ready))
			if tt.phase == restorePending {
				g.Expect(restore.Next(restore.Input{Now: runtest.Now, Session: s, Start: &tt.start}).Event).To(
					BeNil(), "the event must come only once")
			}
		})
	}
}

// restoreHost returns a host with one claim for each component, named after the component.
func restoreHost(name string, components ...string) v1alpha1.ResolvedRestoreHost {
	h := v1alpha1.ResolvedRestoreHost{Name: name}
	for _, c := range components {
		h.Volumes = append(h.Volumes, v1alpha1.ResolvedRestoreVolume{Component: c, ID: "k1", ClaimName: c})
	}
	return h
}

func TestRunOfARestore(t *testing.T) {
	done := task.ComponentResult{
		Outcome: task.OutcomeSucceeded, SizeBytes: 7, ComponentCounts: v1alpha1.ComponentCounts{Files: 2},
	}
	tests := map[string]struct {
		job       *run.Job
		component v1alpha1.RestoredComponent
		refused   *v1alpha1.ResolvedError
		later     time.Duration
		deleted   bool
		pods      int
		attempt   int32 // 0 is the first

		phase                   v1alpha1.RestoreSessionPhase
		reason                  string
		create, remove, stamp   bool
		fenced, verify, partial bool
		maybePartly             bool // written into the target
	}{
		"its Job is made": {phase: restoreRunning, reason: "Running", create: true},
		"its Job runs":    {job: new(runtest.Running()), phase: restoreRunning, reason: "Running"},
		"its Job is suspended": {
			job: &run.Job{Observation: observe.Observation{
				State: observe.StateWaiting, Reason: v1alpha1.ReasonSuspended, Message: "Job j is suspended",
			}},
			phase: restoreRunning, reason: v1alpha1.ReasonSuspended,
		},
		"the API server refuses its Job for now": {
			refused: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: "quota"},
			phase:   restoreRunning, reason: "Running",
		},
		"the termination message is enough": {
			job: new(reportOf(done)), phase: restoreSucceeded, reason: "Succeeded", stamp: true,
		},
		"the status is enough once the Job has ended": {
			job: new(runtest.Died(v1alpha1.ReasonJobFailed, true)), component: v1alpha1.RestoredComponent{
				Phase: restoreSucceeded,
			},
			phase: restoreSucceeded, reason: "Succeeded", stamp: true,
		},
		"while the Job uses the volume it is not done": {
			job: new(runtest.Running()), component: v1alpha1.RestoredComponent{Phase: restoreSucceeded},
			phase:  restoreRunning,
			reason: "Running",
		},
		"owners that were not restored": {
			job:   new(reportOf(task.ComponentResult{Outcome: task.OutcomeSucceeded, OwnersNotRestored: 12})),
			phase: restoreSucceeded, reason: "Succeeded", stamp: true, partial: true,
		},
		"a mover that failed": {
			job: new(runtest.Failed(v1alpha1.ReasonVolumeNotEmpty)), phase: restoreFailed,
			reason: v1alpha1.ReasonVolumeNotEmpty, fenced: true,
		},
		"a component that failed with the reason of a success": {
			component: v1alpha1.RestoredComponent{
				Phase: restoreFailed, Reason: v1alpha1.ReasonSucceeded, Error: "m",
			},
			phase: restoreFailed, reason: v1alpha1.ReasonFailed, fenced: true,
		},
		"a mover that was killed is not run again": {
			job: new(runtest.Died(v1alpha1.ReasonOutOfMemory, true)), phase: restoreFailed,
			reason: v1alpha1.ReasonOutOfMemory,
			fenced: true, verify: true, maybePartly: true,
		},
		"an image that can't be pulled": {
			job: new(runtest.Died(v1alpha1.ReasonImagePullFailed, false)), phase: restoreFailed,
			reason: v1alpha1.ReasonImagePullFailed, remove: true, fenced: true, verify: true, maybePartly: true,
		},
		"an image that can't be pulled, and its mover has not begun": {
			job: new(unbegun(v1alpha1.ReasonImagePullFailed)), phase: restoreFailed,
			reason: v1alpha1.ReasonImagePullFailed, remove: true, fenced: true, verify: true,
		},
		"a pod that no node takes": {
			job: new(unbegun(v1alpha1.ReasonUnschedulable)), phase: restoreFailed,
			reason: v1alpha1.ReasonUnschedulable, remove: true, fenced: true, verify: true,
		},
		"a second pod that no node takes": {
			job: new(unbegun(v1alpha1.ReasonUnschedulable)), attempt: 2, phase: restoreFailed,
			reason: v1alpha1.ReasonUnschedulable, remove: true, fenced: true, verify: true, maybePartly: true,
		},
		"a Job that vanished": {
			component: v1alpha1.RestoredComponent{Phase: restorePending}, phase: restoreFailed,
			reason: v1alpha1.ReasonJobVanished, fenced: true, verify: true, maybePartly: true,
		},
		"the deadline": {
			job: new(runtest.Running()), later: time.Hour, phase: restoreFailed,
			reason: v1alpha1.ReasonDeadlineExceeded,
			remove: true, fenced: true, verify: true, maybePartly: true,
		},
		"deleted: the Job goes first": {
			job: new(runtest.Running()), deleted: true, phase: restoreRunning, reason: "Running", remove: true,
		},
		"deleted: then the pods": {pods: 1, deleted: true, phase: restoreRunning, reason: "Running"},
		"deleted: then it has failed": {
			component: v1alpha1.RestoredComponent{Phase: restorePending}, deleted: true, phase: restoreFailed,
			reason: v1alpha1.ReasonCancelled, fenced: true, verify: true, maybePartly: true,
		},
		"deleted before its Job was made": {
			deleted: true, phase: restoreFailed, reason: v1alpha1.ReasonCancelled, fenced: true, verify: true,
		},
		"deleted: a pod that never goes is not waited for": {
			pods: 1, deleted: true, later: run.WaitForPods, phase: restoreFailed, reason: v1alpha1.ReasonCancelled,
			fenced: true, verify: true, maybePartly: true,
		},
		"deleted by a clock that was a year ahead": {
			pods: 1, deleted: true, later: -365 * 24 * time.Hour, phase: restoreFailed,
			reason: v1alpha1.ReasonCancelled, fenced: true, verify: true, maybePartly: true,
		},
		"deleted by such a clock: the Job goes first": {
			job: new(runtest.Running()), pods: 1, deleted: true, later: -365 * 24 * time.Hour, phase: restoreRunning,
			reason: "Running", remove: true,
		},
		"deleted by such a clock: a sidecar works": {
			job: new(asked(nil)), deleted: true, later: -365 * 24 * time.Hour, phase: restoreRunning,
			reason: "Running", remove: true,
		},
		"deleted by such a clock: a sidecar is just asked to stop": {
			job:     new(asked(new(metav1.NewTime(runtest.Now.Add(-365*24*time.Hour - time.Minute))))),
			deleted: true, later: -365 * 24 * time.Hour, phase: restoreRunning, reason: "Running", remove: true,
		},
		"deleted by such a clock: a sidecar does not stop": {
			job:     new(asked(new(metav1.NewTime(runtest.Now.Add(-365*24*time.Hour - run.WaitForPods))))),
			deleted: true, later: -365 * 24 * time.Hour, phase: restoreFailed, reason: v1alpha1.ReasonCancelled,
			fenced: true, verify: true, maybePartly: true,
		},
		"deleted by a clock that was three hours ahead": {
			pods: 1, deleted: true, later: -3 * time.Hour, phase: restoreFailed,
			reason: v1alpha1.ReasonCancelled, fenced: true, verify: true, maybePartly: true,
		},
		"deleted by such a clock: the Job goes first, after three hours, too": {
			job: new(runtest.Running()), pods: 1, deleted: true, later: -3 * time.Hour, phase: restoreRunning,
			reason: "Running", remove: true,
		},
		"deleted, and the manager is a little behind": {
			pods: 1, deleted: true, later: -4 * time.Minute, phase: restoreRunning, reason: "Running",
		},
		"a storage that is no longer allowed": {
			refused: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonStorageNotAllowed, Message: "m"},
			phase:   restoreFailed, reason: v1alpha1.ReasonStorageNotAllowed, fenced: true, verify: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "r"}}
			start := restore.Start{
				Timeout:  time.Hour,
				Resolved: v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("target", "pvc")}},
			}
			s.Status = restore.Next(restore.Input{Now: runtest.Now, Session: s, Start: &start}).Status
			if tt.component.Phase != "" {
				s.Status.Components = map[string]v1alpha1.RestoredComponent{"pvc": tt.component}
			}
			if tt.deleted {
				s.DeletionTimestamp = &metav1.Time{Time: runtest.Now}
			}
			in := restore.Input{
				Now: runtest.Now.Add(tt.later), Session: s, Pods: tt.pods, Jobs: map[string]run.Job{},
			}
			if tt.attempt != 0 {
				s.Status.Attempt = tt.attempt
			}
			if tt.job != nil {
				in.Jobs[restore.JobName("r", "target", s.Status.Attempt)] = *tt.job
			}
			if tt.refused != nil {
				in.Refused = map[string]*v1alpha1.ResolvedError{"target": tt.refused}
			}
			d := restore.Next(in)
			g.Expect(d.Status.Phase).To(Equal(tt.phase))
			g.Expect(d.Status.Reason).To(Equal(tt.reason))
			g.Expect(len(d.Create) == 1).To(Equal(tt.create), "create")
			g.Expect(len(d.Delete) == 1).To(Equal(tt.remove), "delete")
			g.Expect(d.Stamp).To(Equal(tt.stamp), "stamp")
			g.Expect(d.Verify).To(Equal(tt.verify), "verify")
			g.Expect(*d.Movers == "").To(Equal(tt.fenced), "fenced")
			g.Expect(strings.Contains(d.Status.Components["pvc"].Error, "may hold a part of the data")).To(
				Equal(tt.maybePartly), d.Status.Components["pvc"].Error)
			s.Status = d.Status
			g.Expect(conditions.IsTrue(s, v1alpha1.ConditionPartial)).To(Equal(tt.partial))
			if !tt.phase.Terminal() {
				g.Expect(d.After).To(BeNumerically(">", 0), "an unfinished restore must be looked at again")
				return
			}
			g.Expect(d.Release).To(BeTrue(), "an ended restore must release its claims")
			in.Now, in.Jobs = in.Now.Add(24*time.Hour), map[string]run.Job{
				restore.JobName("r", "target", 1): runtest.Running(),
			}
			g.Expect(restore.Next(in)).To(
				Equal(restore.Decision{Status: d.Status}), "an ended restore stays as it is")
		})
	}
}

func TestLatest(t *testing.T) {
	snap := func(name, repository string, phase v1alpha1.SnapshotPhase, at time.Duration) v1alpha1.Snapshot {
		return v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.SnapshotSpec{Repository: repository, SnapshotID: name},
			Status:     v1alpha1.SnapshotStatus{Phase: phase, SnapshotTime: &metav1.Time{Time: runtest.Now.Add(at)}},
		}
	}
	g := NewWithT(t)
	record := snap("record", "r", v1alpha1.SnapshotSucceeded, 9*time.Hour)
	record.Annotations = map[string]string{v1alpha1.AnnotationRecord: "cluster"}
	all := []v1alpha1.Snapshot{
		snap("b", "r", v1alpha1.SnapshotSucceeded, 2*time.Hour),
		snap("a", "r", v1alpha1.SnapshotSucceeded, time.Hour),
		snap("c", "r", v1alpha1.SnapshotFailed, 3*time.Hour),
		snap("d", "other", v1alpha1.SnapshotSucceeded, 4*time.Hour),
		snap("b2", "r", v1alpha1.SnapshotSucceeded, 2*time.Hour),
		record,
	}
	g.Expect(newest(all, "r", restore.Before{}).Name).To(Equal("b2"))
	g.Expect(newest(all, "none", restore.Before{})).To(BeNil())
	ahead := snap("e", "r", v1alpha1.SnapshotSucceeded, 11*365*24*time.Hour)
	g.Expect(newest(append(all, ahead), "r", restore.Before{}).Name).To(Equal("b2"), "clocks were ahead")
	g.Expect(newest([]v1alpha1.Snapshot{ahead}, "r", restore.Before{}).Name).To(Equal("e"), "there is no other")
	for name, tt := range map[string]struct {
		moment restore.Before
		want   string
	}{
		"at exactly that time": {restore.Before{At: runtest.Now.Add(time.Hour)}, "a"},
		"before that time":     {restore.Before{At: runtest.Now.Add(2 * time.Hour), Exclusive: true}, "a"},
		"at or before a time":  {restore.Before{At: runtest.Now.Add(2*time.Hour + time.Minute)}, "b2"},
	} {
		g.Expect(newest(all, "r", tt.moment)).To(HaveField("Name", tt.want), name)
	}
	g.Expect(newest(all, "r", restore.Before{At: runtest.Now.Add(time.Hour), Exclusive: true})).To(BeNil())
}

func TestMakesMover(t *testing.T) {
	g := NewWithT(t)
	s := &v1alpha1.RestoreSessionStatus{Attempt: 2, Resolved: &v1alpha1.ResolvedRestore{
		Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("pod-0", "a"), restoreHost("pod-1", "b")},
	}}
	for _, job := range []string{
		restore.JobName("r", "pod-0", 1), restore.JobName("r", "pod-0", 2), restore.ConsumerJobName("r", "pod-0", 2),
	} {
		g.Expect(restore.MakesMover(s, "r", "a", job)).To(BeTrue(), job)
	}
	for _, job := range []string{
		"", "any text", restore.JobName("r", "pod-0", 3), restore.JobName("r", "pod-1", 1),
		restore.JobName("other", "pod-0", 1),
	} {
		g.Expect(restore.MakesMover(s, "r", "a", job)).To(BeFalse(), job)
	}
}

// TestWhatARestoreLeavesOutIsNamed ends a restore whose mover could not restore some owners and devices.
func TestWhatARestoreLeavesOutIsNamed(t *testing.T) {
	g := NewWithT(t)
	s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "r"}}
	s.Status = restore.Next(restore.Input{Now: runtest.Now, Session: s, Start: &restore.Start{
		Timeout:  time.Hour,
		Resolved: v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("target", "pvc")}},
	}}).Status
	d := restore.Next(restore.Input{Now: runtest.Now, Session: s, Jobs: map[string]run.Job{
		restore.JobName("r", "target", 1): reportOf(task.ComponentResult{
			Outcome: task.OutcomeSucceeded, OwnersNotRestored: 1, DevicesNotRestored: 2,
		}),
	}})
	g.Expect(conditions.GetMessage(&v1alpha1.RestoreSession{Status: d.Status}, v1alpha1.ConditionPartial)).To(Equal(
		"all data is restored, except owners (entries: 1), devices (entries: 2): to restore these too, restore as " +
			"root (jobTemplate runAsUser 0, in a Namespace with the annotation " + v1alpha1.AnnotationPrivilegedMovers +
			"); devices and set-id bits also need the parameters devices and setID of the task"))
}

// TestLinksAndExtraFilesAreNamed ends a restore with separate files in place of hard links, and with files that it did
// not dare to delete.
func TestLinksAndExtraFilesAreNamed(t *testing.T) {
	g := NewWithT(t)
	s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "r"}}
	s.Status = restore.Next(restore.Input{Now: runtest.Now, Session: s, Start: &restore.Start{
		Timeout:  time.Hour,
		Resolved: v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("target", "pvc")}},
	}}).Status
	d := restore.Next(restore.Input{Now: runtest.Now, Session: s, Jobs: map[string]run.Job{
		restore.JobName("r", "target", 1): reportOf(task.ComponentResult{
			Outcome: task.OutcomeSucceeded, LinksNotRestored: 2, ExtraKept: 3, UnmatchedPatterns: []string{"cache"},
		}),
	}})
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	c := d.Status.Components["pvc"]
	g.Expect([]int64{c.LinksNotRestored, c.ExtraKept}).To(Equal([]int64{2, 3}))
	g.Expect(c.UnmatchedPatterns).To(Equal([]string{"cache"}))
	g.Expect(conditions.GetMessage(&v1alpha1.RestoreSession{Status: d.Status}, v1alpha1.ConditionPartial)).To(And(
		ContainSubstring("hard links are files of their own (entries: 2)"),
		ContainSubstring("deleteExtraFiles kept what the backup may have left out, and subvolumes (entries: 3)")))
}

// reportOf returns the Job of a mover that reports c for the component "pvc".
func reportOf(c task.ComponentResult) run.Job {
	c.Name, c.ID = "pvc", "k1"
	return run.Job{
		Finished: true,
		Observation: observe.Observation{State: observe.StateSucceeded, Result: &task.Result{
			Outcome: task.OutcomeSucceeded, Components: []task.ComponentResult{c},
		}},
	}
}

// newest returns the Snapshot that restore.Latest takes.
func newest(all []v1alpha1.Snapshot, repository string, before restore.Before) *v1alpha1.Snapshot {
	s, _ := restore.Latest(all, repository, before, runtest.Now.AddDate(10, 0, 0))
	return s
}

// asked returns the work of a sidecar that was asked to stop at a time, or was not.
func asked(at *metav1.Time) run.Job {
	job := runtest.Running()
	job.Sidecar, job.Deleted = true, at
	return job
}
