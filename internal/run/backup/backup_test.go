package backup_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// runWant is the expected decision about a run.
type runWant struct {
	phase   v1alpha1.BackupSessionPhase
	reason  string
	targets []string // phase/reason
	create  []string
	delete  []string
	verify  bool
	partial bool
}

type runCase struct {
	run  func() *fixture
	want runWant
}

func (c runCase) check(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	f := c.run()
	d := f.decide()
	g.Expect(d.Status.Phase).To(Equal(c.want.phase))
	g.Expect(d.Status.Reason).To(Equal(c.want.reason))
	var targets, create []string
	for _, s := range d.Status.Targets {
		targets = append(targets, string(s.Phase)+"/"+s.Reason)
	}
	for _, m := range d.Create {
		create = append(create, m.Name)
	}
	g.Expect(targets).To(Equal(c.want.targets))
	g.Expect(create).To(Equal(c.want.create))
	g.Expect(d.Delete).To(ConsistOf(c.want.delete))
	g.Expect(d.Verify).To(Equal(c.want.verify))
	g.Expect(conditions.IsTrue(&v1alpha1.BackupSession{Status: d.Status}, v1alpha1.ConditionPartial)).To(
		Equal(c.want.partial))
	g.Expect(d.Event != nil).To(Equal(c.want.phase.Terminal()), "there must be an event when it ends, and only then")
	if !c.want.phase.Terminal() {
		g.Expect(d.After).To(BeNumerically(">", 0), "an unfinished run must be looked at again")
		return
	}
	// An ended run never changes, however often Next is called.
	f.session.Status = d.Status
	f.at = f.at.Add(24 * time.Hour)
	f.jobs = map[string]run.Job{runtest.Job("a", "pod-0", 1): runtest.Failed(v1alpha1.ReasonEmpty)}
	f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
	again := f.decide()
	g.Expect(again).To(Equal(backup.Decision{Status: d.Status}))
}

func TestRunOfABackup(t *testing.T) {
	tests := map[string]runCase{
		"its Jobs are made": {
			run: func() *fixture { return frozen(runtest.Target("a", "pod-0", "pod-1")) },
			want: runWant{
				phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				create: []string{runtest.Job("a", "pod-0", 1), runtest.Job("a", "pod-1", 1)},
			},
		},
		"a Job that runs is left alone": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Running()
				return f
			},
			want: runWant{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}},
		},
		"the termination message alone is enough": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
				return f
			},
			want: runWant{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
		"the status alone is enough": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{
					"pod-0": {Phase: v1alpha1.SnapshotSucceeded, ID: "k"},
				}
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonJobFailed, true)
				return f
			},
			want: runWant{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
		"the status is enough when the Job vanished": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{
					"pod-0": {Phase: v1alpha1.SnapshotSucceeded, ID: "k"},
				}
				return f
			},
			want: runWant{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
		"a mover that failed": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonEmpty)
				return f
			},
			want: runWant{phase: backupFailed, reason: v1alpha1.ReasonEmpty, targets: []string{"Failed/Empty"}},
		},
		"one host of two failed": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0", "pod-1"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
				f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Failed(v1alpha1.ReasonUnreadable)
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonUnreadable, targets: []string{"Failed/Unreadable"},
				partial: true,
			},
		},
		"one target of many failed": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"), runtest.Target("b", "pod-0"), runtest.Target("c", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
				f.jobs[runtest.Job("b", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonStorageFull)
				f.jobs[runtest.Job("c", "pod-0", 1)] = runtest.Succeeded("pod-0")
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonTargetsFailed,
				targets: []string{"Succeeded/Succeeded", "Failed/StorageFull", "Succeeded/Succeeded"}, partial: true,
			},
		},
		"a target that could not be resolved": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"), broken("b", v1alpha1.ReasonNoVolumes))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonTargetsFailed,
				targets: []string{"Succeeded/Succeeded", "Failed/NoVolumes"}, partial: true,
			},
		},
		"a target that is being restored": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"), broken("b", v1alpha1.ReasonRestoreInProgress))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
				return f
			},
			want: runWant{
				phase: backupSucceeded, reason: "Succeeded",
				targets: []string{"Succeeded/Succeeded", "Skipped/RestoreInProgress"}, partial: true,
			},
		},
		"the only target is being restored": {
			run: func() *fixture { return frozen(broken("a", v1alpha1.ReasonRestoreInProgress)) },
			want: runWant{
				phase: backupSkipped, reason: v1alpha1.ReasonRestoreInProgress,
				targets: []string{"Skipped/RestoreInProgress"},
			},
		},
		"a mover that was killed is run again": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonJobFailed, true)
				return f
			},
			want: runWant{
				phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				create: []string{runtest.Job("a", "pod-0", 2)}, verify: true,
			},
		},
		"a mover that was told to stop is run again": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonCancelled)
				return f
			},
			want: runWant{
				phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				create: []string{runtest.Job("a", "pod-0", 2)}, verify: true,
			},
		},
		"a mover that was told to stop twice is not run again": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonCancelled)
				f.jobs[runtest.Job("a", "pod-0", 2)] = runtest.Failed(v1alpha1.ReasonCancelled)
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"},
				verify: true,
			},
		},
		"a mover that was told to stop by the deadline of its Job": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				late := runtest.Failed(v1alpha1.ReasonCancelled)
				late.Reason = v1alpha1.ReasonDeadlineExceeded
				f.jobs[runtest.Job("a", "pod-0", 1)] = late
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonDeadlineExceeded,
				targets: []string{"Failed/DeadlineExceeded"}, verify: true,
			},
		},
		"a mover that was told to stop because the run was deleted": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonCancelled)
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"},
				verify: true,
			},
		},
		"a mover whose node was lost is run again, and its Job is deleted": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonNodeLost, false)
				return f
			},
			want: runWant{
				phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				create: []string{runtest.Job("a", "pod-0", 2)}, delete: []string{runtest.Job("a", "pod-0", 1)},
				verify: true,
			},
		},
		"a mover that was killed twice is not run again": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonJobFailed, true)
				f.jobs[runtest.Job("a", "pod-0", 2)] = runtest.Died(v1alpha1.ReasonOutOfMemory, true)
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonOutOfMemory, targets: []string{"Failed/OutOfMemory"},
				verify: true,
			},
		},
		"the second mover reports": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonJobFailed, true)
				f.jobs[runtest.Job("a", "pod-0", 2)] = runtest.Succeeded("pod-0")
				return f
			},
			want: runWant{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
		"a second attempt that has begun without a Job gets its Job": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonJobFailed, true)
				f.snapshots["snap-a"].Annotations[v1alpha1.AnnotationMovers] = "pod-0=" + runtest.Job("a", "pod-0", 2)
				return f
			},
			want: runWant{
				phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				create: []string{runtest.Job("a", "pod-0", 2)},
			},
		},
		"a mover that reported its failure is not run again": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonJobFailed)
				return f
			},
			want: runWant{phase: backupFailed, reason: v1alpha1.ReasonJobFailed, targets: []string{"Failed/JobFailed"}},
		},
		"an image that can't be pulled fails it, and its Job is deleted": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonImagePullFailed, false)
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonImagePullFailed, targets: []string{
					"Failed/ImagePullFailed",
				},
				delete: []string{runtest.Job("a", "pod-0", 1)}, verify: true,
			},
		},
		"a Job that vanished": {
			run: func() *fixture {
				f := frozen(runtest.Target("a", "pod-0"))
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Running()
				f.step()
				delete(f.jobs, runtest.Job("a", "pod-0", 1))
				return f
			},
			want: runWant{
				phase: backupFailed, reason: v1alpha1.ReasonJobVanished, targets: []string{"Failed/JobVanished"},
				verify: true,
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, tt.check)
	}
}
