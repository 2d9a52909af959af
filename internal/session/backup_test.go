package session_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/task"
)

var now = time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)

const (
	backupPending   = v1alpha1.BackupSessionPending
	backupRunning   = v1alpha1.BackupSessionRunning
	backupSucceeded = v1alpha1.BackupSessionSucceeded
	backupFailed    = v1alpha1.BackupSessionFailed
	backupSkipped   = v1alpha1.BackupSessionSkipped
)

// target is a StatefulSet's with one repository and the given hosts, of one volume each.
func target(name string, hosts ...string) v1alpha1.ResolvedTarget {
	t := v1alpha1.ResolvedTarget{
		Name: name, Task: v1alpha1.ResolvedTask{Driver: v1alpha1.DriverKopia},
		Repositories: []v1alpha1.ResolvedRepository{{Name: name, Snapshot: "snap-" + name}},
	}
	for _, h := range hosts {
		t.Hosts = append(t.Hosts, v1alpha1.ResolvedHost{Name: h, Volumes: []v1alpha1.ResolvedVolume{{Component: h, ClaimName: h, Path: "sub"}}})
	}
	return t
}

func broken(name, reason string) v1alpha1.ResolvedTarget {
	return v1alpha1.ResolvedTarget{Name: name, Error: &v1alpha1.ResolvedError{Reason: reason, Message: "because"}}
}

func ready(name string) session.StartTarget {
	return session.StartTarget{Resolved: target(name, "target")}
}

func waiting(name, reason string, wait time.Duration) session.StartTarget {
	return session.StartTarget{Resolved: broken(name, reason), Wait: wait}
}

func TestStartOfABackup(t *testing.T) {
	tests := map[string]struct {
		start       session.Start
		annotations map[string]string
		deleted     bool
		phase       v1alpha1.BackupSessionPhase
		reason      string
		event       string
		after       time.Duration
	}{
		"everything is there": {
			start: session.Start{Targets: []session.StartTarget{ready("a"), ready("b")}},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"no invoker": {
			start: session.Start{Refused: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonInvokerNotFound, Message: "m"}},
			phase: backupFailed, reason: v1alpha1.ReasonInvokerNotFound, event: v1alpha1.ReasonInvokerNotFound,
		},
		"a CronJob of another session": {
			start: session.Start{CronJob: "mine"}, annotations: map[string]string{v1alpha1.AnnotationCronJob: "other"},
			phase: backupFailed, reason: v1alpha1.ReasonNotPermitted, event: v1alpha1.ReasonNotPermitted,
		},
		"its own CronJob": {
			start:       session.Start{CronJob: "mine", Targets: []session.StartTarget{ready("a")}},
			annotations: map[string]string{v1alpha1.AnnotationCronJob: "mine"},
			phase:       backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"too late": {
			start: session.Start{Deadline: now.Add(-time.Second), Targets: []session.StartTarget{ready("a")}},
			phase: backupSkipped, reason: v1alpha1.ReasonStartingDeadlineExceeded, event: v1alpha1.ReasonStartingDeadlineExceeded,
		},
		"just in time": {
			start: session.Start{Deadline: now, Targets: []session.StartTarget{ready("a")}},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"policy is being applied": {
			start: session.Start{Since: now.Add(-25 * time.Second), PolicyApplying: true, Targets: []session.StartTarget{ready("a")}},
			phase: backupPending, reason: v1alpha1.ReasonProgressing, after: 5 * time.Second,
		},
		"policy is being applied for too long": {
			start: session.Start{Since: now.Add(-session.WaitForPolicy), PolicyApplying: true, Targets: []session.StartTarget{ready("a")}},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"a repository is on its way": {
			start: session.Start{Since: now, Targets: []session.StartTarget{ready("a"), waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute)}},
			phase: backupPending, reason: v1alpha1.ReasonRepositoryNotReady, after: 10 * time.Second,
		},
		"a repository that never came": {
			start: session.Start{Since: now.Add(-time.Minute), Targets: []session.StartTarget{ready("a"), waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute)}},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"waiting never passes the starting deadline": {
			start: session.Start{Since: now, Deadline: now.Add(2 * time.Second), Targets: []session.StartTarget{waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute)}},
			phase: backupPending, reason: v1alpha1.ReasonRepositoryNotReady, after: 3 * time.Second,
		},
		"deleted before it started": {
			start: session.Start{Targets: []session.StartTarget{ready("a")}}, deleted: true,
			phase: backupFailed, reason: v1alpha1.ReasonCancelled, event: v1alpha1.ReasonCancelled,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "run", Annotations: tt.annotations, Generation: 1}}
			if tt.deleted {
				s.DeletionTimestamp = &metav1.Time{Time: now}
			}
			d := session.Next(session.Input{Now: now, Session: s, Start: &tt.start})
			g.Expect(d.Status.Phase).To(Equal(tt.phase))
			g.Expect(d.Status.Reason).To(Equal(tt.reason))
			g.Expect(d.After).To(Equal(tt.after))
			g.Expect(d.Status.Resolved != nil).To(Equal(tt.phase == backupRunning), "frozen when it runs, and only then")
			g.Expect(d.Create).To(BeEmpty(), "nothing is made before the frozen state is stored")
			if tt.event == "" {
				g.Expect(d.Event).To(BeNil())
			} else {
				g.Expect(d.Event.Reason).To(Equal(tt.event))
			}
			if tt.phase == backupRunning {
				g.Expect(d.Status.BackupDeadline.Time).To(Equal(now.Add(session.DefaultTimeout)))
				g.Expect(d.Status.Targets).To(HaveLen(len(tt.start.Targets)))
			}
			if tt.phase == backupPending {
				g.Expect(session.Since(d.Status.Conditions, now.Add(time.Hour))).To(Equal(now))
			}
		})
	}
}

// fixture is a frozen run and what there is of it.
type fixture struct {
	session   *v1alpha1.BackupSession
	snapshots map[string]*v1alpha1.Snapshot
	jobs      map[string]session.Job
	refused   map[string]*v1alpha1.ResolvedError
	pods      int
	at        time.Time
}

// frozen is a run that has just started, with its Snapshots.
func frozen(targets ...v1alpha1.ResolvedTarget) *fixture {
	start := session.Start{Timeout: time.Hour}
	for _, t := range targets {
		start.Targets = append(start.Targets, session.StartTarget{Resolved: t})
	}
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "run", Generation: 1}}
	s.Status = session.Next(session.Input{Now: now, Session: s, Start: &start}).Status
	f := &fixture{session: s, snapshots: map[string]*v1alpha1.Snapshot{}, jobs: map[string]session.Job{}, refused: map[string]*v1alpha1.ResolvedError{}, at: now.Add(time.Minute)}
	for _, t := range s.Status.Resolved.Targets {
		for _, r := range t.Repositories {
			f.snapshots[r.Snapshot] = &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
				Name: r.Snapshot, Annotations: map[string]string{v1alpha1.AnnotationMovers: session.FirstMovers(r.Snapshot, t.Hosts)},
			}}
		}
	}
	return f
}

func (f *fixture) decide() session.Decision {
	return session.Next(session.Input{Now: f.at, Session: f.session, Snapshots: f.snapshots, Jobs: f.jobs, Refused: f.refused, Pods: f.pods})
}

// step decides and carries out, as the controller does.
func (f *fixture) step() session.Decision {
	d := f.decide()
	for name, status := range d.Snapshots {
		f.snapshots[name].Status = status
		f.snapshots[name].Annotations[v1alpha1.AnnotationMovers] = d.Movers[name]
	}
	for _, name := range d.Delete {
		delete(f.jobs, name)
	}
	for _, m := range d.Create {
		f.jobs[m.Name] = session.Job{Observation: task.Observation{State: task.StateWaiting}}
	}
	f.session.Status = d.Status
	return d
}

func (f *fixture) component(target, name string) v1alpha1.Component {
	return f.snapshots["snap-"+target].Status.Components[name]
}

func job(target, host string, attempt int) string {
	return session.JobName("snap-"+target, host, attempt)
}

// succeeded is a Job that ended well and said so.
func succeeded(components ...string) session.Job {
	r := &task.Result{Outcome: task.OutcomeSucceeded}
	for _, c := range components {
		r.Components = append(r.Components, task.ComponentResult{Name: c, Outcome: task.OutcomeSucceeded, ID: "k" + c, SizeBytes: 3 << 20, UploadedBytes: 1 << 10})
	}
	return session.Job{Observation: task.Observation{State: task.StateSucceeded, Result: r}, Finished: true}
}

// failed is a Job whose mover said why.
func failed(reason string) session.Job {
	return session.Job{Observation: task.Observation{State: task.StateFailed, Reason: reason, Result: &task.Result{
		Outcome: task.OutcomeFailed, Reason: reason, Message: "it says",
	}}, Finished: true}
}

// died is a Job that ended without a word of its mover.
func died(reason string, finished bool) session.Job {
	return session.Job{Observation: task.Observation{State: task.StateFailed, Reason: reason, Message: "observed"}, Finished: finished}
}

func running() session.Job {
	return session.Job{Observation: task.Observation{State: task.StateRunning}}
}

func TestRunOfABackup(t *testing.T) {
	type want struct {
		phase   v1alpha1.BackupSessionPhase
		reason  string
		targets []string // phase/reason
		create  []string
		delete  []string
		verify  bool
		partial bool
	}
	tests := map[string]struct {
		run  func() *fixture
		want want
	}{
		"its Jobs are made": {
			run:  func() *fixture { return frozen(target("a", "pod-0", "pod-1")) },
			want: want{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}, create: []string{job("a", "pod-0", 1), job("a", "pod-1", 1)}},
		},
		"a Job that runs is left alone": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = running()
				return f
			},
			want: want{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}},
		},
		"the termination message alone is enough": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				return f
			},
			want: want{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
		"the status alone is enough": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{"pod-0": {Phase: v1alpha1.SnapshotSucceeded, ID: "k"}}
				f.jobs[job("a", "pod-0", 1)] = died(v1alpha1.ReasonJobFailed, true)
				return f
			},
			want: want{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
		"the status is enough when the Job vanished": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{"pod-0": {Phase: v1alpha1.SnapshotSucceeded, ID: "k"}}
				return f
			},
			want: want{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
		"a mover that failed": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = failed(v1alpha1.ReasonEmpty)
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonEmpty, targets: []string{"Failed/Empty"}},
		},
		"one host of two failed": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0", "pod-1"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				f.jobs[job("a", "pod-1", 1)] = failed(v1alpha1.ReasonUnreadable)
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonUnreadable, targets: []string{"Failed/Unreadable"}, partial: true},
		},
		"one target of many failed": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"), target("b", "pod-0"), target("c", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				f.jobs[job("b", "pod-0", 1)] = failed(v1alpha1.ReasonStorageFull)
				f.jobs[job("c", "pod-0", 1)] = succeeded("pod-0")
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonTargetsFailed,
				targets: []string{"Succeeded/Succeeded", "Failed/StorageFull", "Succeeded/Succeeded"}, partial: true},
		},
		"a target that could not be resolved": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"), broken("b", v1alpha1.ReasonNoVolumes))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonTargetsFailed, targets: []string{"Succeeded/Succeeded", "Failed/NoVolumes"}, partial: true},
		},
		"a target that is being restored": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"), broken("b", v1alpha1.ReasonRestoreInProgress))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				return f
			},
			want: want{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded", "Skipped/RestoreInProgress"}, partial: true},
		},
		"the only target is being restored": {
			run:  func() *fixture { return frozen(broken("a", v1alpha1.ReasonRestoreInProgress)) },
			want: want{phase: backupSkipped, reason: v1alpha1.ReasonRestoreInProgress, targets: []string{"Skipped/RestoreInProgress"}},
		},
		"a mover that was killed is run again": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = died(v1alpha1.ReasonJobFailed, true)
				return f
			},
			want: want{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}, create: []string{job("a", "pod-0", 2)}, verify: true},
		},
		"a mover that was told to stop is run again": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = failed(v1alpha1.ReasonCancelled)
				return f
			},
			want: want{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}, create: []string{job("a", "pod-0", 2)}, verify: true},
		},
		"a mover that was told to stop twice is not run again": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = failed(v1alpha1.ReasonCancelled)
				f.jobs[job("a", "pod-0", 2)] = failed(v1alpha1.ReasonCancelled)
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"}, verify: true},
		},
		"a mover that was told to stop by the deadline of its Job": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				late := failed(v1alpha1.ReasonCancelled)
				late.Reason = v1alpha1.ReasonDeadlineExceeded
				f.jobs[job("a", "pod-0", 1)] = late
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonDeadlineExceeded, targets: []string{"Failed/DeadlineExceeded"}, verify: true},
		},
		"a mover that was told to stop because the run was deleted": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = failed(v1alpha1.ReasonCancelled)
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"}, verify: true},
		},
		"a mover whose node was lost is run again, and its Job goes": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = died(v1alpha1.ReasonNodeLost, false)
				return f
			},
			want: want{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"},
				create: []string{job("a", "pod-0", 2)}, delete: []string{job("a", "pod-0", 1)}, verify: true},
		},
		"a mover that was killed twice is not run again": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = died(v1alpha1.ReasonJobFailed, true)
				f.jobs[job("a", "pod-0", 2)] = died(v1alpha1.ReasonOutOfMemory, true)
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonOutOfMemory, targets: []string{"Failed/OutOfMemory"}, verify: true},
		},
		"the second mover reports": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = died(v1alpha1.ReasonJobFailed, true)
				f.jobs[job("a", "pod-0", 2)] = succeeded("pod-0")
				return f
			},
			want: want{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
		"a second attempt that was begun and not made is made": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = died(v1alpha1.ReasonJobFailed, true)
				f.snapshots["snap-a"].Annotations[v1alpha1.AnnotationMovers] = "pod-0=" + job("a", "pod-0", 2)
				return f
			},
			want: want{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}, create: []string{job("a", "pod-0", 2)}},
		},
		"a mover that said it failed is not run again": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = failed(v1alpha1.ReasonJobFailed)
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonJobFailed, targets: []string{"Failed/JobFailed"}},
		},
		"an image that can't be pulled ends it, and its Job goes": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = died(v1alpha1.ReasonImagePullFailed, false)
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonImagePullFailed, targets: []string{"Failed/ImagePullFailed"},
				delete: []string{job("a", "pod-0", 1)}, verify: true},
		},
		"a Job that vanished": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = running()
				f.step()
				delete(f.jobs, job("a", "pod-0", 1))
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonJobVanished, targets: []string{"Failed/JobVanished"}, verify: true},
		},
		"the deadline ends what runs and keeps what ended": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"), target("b", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				f.jobs[job("b", "pod-0", 1)] = running()
				f.at = now.Add(time.Hour)
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonDeadlineExceeded, targets: []string{"Succeeded/Succeeded", "Failed/DeadlineExceeded"},
				delete: []string{job("b", "pod-0", 1)}, verify: true, partial: true},
		},
		"the deadline ends what never began": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.snapshots = nil
				f.at = now.Add(2 * time.Hour)
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonDeadlineExceeded, targets: []string{"Failed/DeadlineExceeded"}},
		},
		"a storage that is not allowed any more": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.refused["snap-a"] = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonStorageNotAllowed, Message: "m"}
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonStorageNotAllowed, targets: []string{"Failed/StorageNotAllowed"}, verify: true},
		},
		"a Snapshot whose name is taken": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.snapshots = nil
				f.refused["snap-a"] = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonNameConflict, Message: "m"}
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonNameConflict, targets: []string{"Failed/NameConflict"}},
		},
		"deleted while it runs: the Jobs go first": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0", "pod-1"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				f.jobs[job("a", "pod-1", 1)] = running()
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: want{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}, delete: []string{job("a", "pod-0", 1), job("a", "pod-1", 1)}},
		},
		"deleted while it runs: then the pods": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.pods = 1
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: want{phase: backupRunning, reason: "Running", targets: []string{"Running/Running"}},
		},
		"deleted while it runs: then it has failed": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"}},
		},
		"deleted while it runs: pods that never go are not waited for": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.pods = 1
				f.jobs[job("a", "pod-0", 1)] = running()
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at.Add(-session.WaitForPods)}
				return f
			},
			want: want{phase: backupFailed, reason: v1alpha1.ReasonCancelled, targets: []string{"Failed/Cancelled"}},
		},
		"deleted when all was done: it has succeeded": {
			run: func() *fixture {
				f := frozen(target("a", "pod-0"))
				f.jobs[job("a", "pod-0", 1)] = succeeded("pod-0")
				f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
				return f
			},
			want: want{phase: backupSucceeded, reason: "Succeeded", targets: []string{"Succeeded/Succeeded"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := tt.run()
			d := f.decide()
			g.Expect(d.Status.Phase).To(Equal(tt.want.phase))
			g.Expect(d.Status.Reason).To(Equal(tt.want.reason))
			var targets, create []string
			for _, s := range d.Status.Targets {
				targets = append(targets, string(s.Phase)+"/"+s.Reason)
			}
			for _, m := range d.Create {
				create = append(create, m.Name)
			}
			g.Expect(targets).To(Equal(tt.want.targets))
			g.Expect(create).To(Equal(tt.want.create))
			g.Expect(d.Delete).To(ConsistOf(tt.want.delete))
			g.Expect(d.Verify).To(Equal(tt.want.verify))
			g.Expect(conditions.IsTrue(&v1alpha1.BackupSession{Status: d.Status}, v1alpha1.ConditionPartial)).To(Equal(tt.want.partial))
			g.Expect(d.Event != nil).To(Equal(tt.want.phase.Terminal()), "an event when it ends, and only then")
			if !tt.want.phase.Terminal() {
				g.Expect(d.After).To(BeNumerically(">", 0), "a run that goes on is looked at again")
				return
			}
			// However it is asked again, an ended run stays as it is.
			f.session.Status = d.Status
			f.at = f.at.Add(24 * time.Hour)
			f.jobs = map[string]session.Job{job("a", "pod-0", 1): failed(v1alpha1.ReasonEmpty)}
			f.session.DeletionTimestamp = &metav1.Time{Time: f.at}
			again := f.decide()
			g.Expect(again).To(Equal(session.Decision{Status: d.Status}))
		})
	}
}
