package session_test

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// target returns the target of a StatefulSet with one Repository and the given hosts, each with one volume.
func target(name string, hosts ...string) v1alpha1.ResolvedTarget {
	t := v1alpha1.ResolvedTarget{
		Name: name, Task: v1alpha1.ResolvedTask{Driver: v1alpha1.DriverKopia},
		Repositories: []v1alpha1.ResolvedRepository{{Name: name, Snapshot: "snap-" + name}},
	}
	for _, h := range hosts {
		t.Hosts = append(t.Hosts, v1alpha1.ResolvedHost{
			Name: h, Volumes: []v1alpha1.ResolvedVolume{{Component: h, ClaimName: h, Path: "sub"}},
		})
	}
	return t
}

func broken(name, reason string) v1alpha1.ResolvedTarget {
	return v1alpha1.ResolvedTarget{Name: name, Error: &v1alpha1.ResolvedError{Reason: reason, Message: "because"}}
}

// fixture is a frozen run with its observed state.
type fixture struct {
	session   *v1alpha1.BackupSession
	snapshots map[string]*v1alpha1.Snapshot
	jobs      map[string]session.Job
	refused   map[string]*v1alpha1.ResolvedError
	copies    map[string]session.Copy
	pods      int
	at        time.Time
}

// frozen returns a run that has just started, with its Snapshots.
func frozen(targets ...v1alpha1.ResolvedTarget) *fixture {
	return frozenAs(session.Start{Timeout: time.Hour}, targets...)
}

// frozenAs returns a run that has just started with start, with its Snapshots.
func frozenAs(start session.Start, targets ...v1alpha1.ResolvedTarget) *fixture {
	for _, t := range targets {
		start.Targets = append(start.Targets, session.StartTarget{Resolved: t})
	}
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "run", Generation: 1}}
	s.Status = session.Next(session.Input{Now: now, Session: s, Start: &start}).Status
	f := &fixture{
		session: s, snapshots: map[string]*v1alpha1.Snapshot{}, jobs: map[string]session.Job{},
		refused: map[string]*v1alpha1.ResolvedError{}, at: now.Add(time.Minute),
	}
	for _, t := range s.Status.Resolved.Targets {
		for _, r := range t.Repositories {
			f.snapshots[r.Snapshot] = &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
				Name: r.Snapshot, Annotations: map[string]string{
					v1alpha1.AnnotationMovers: session.FirstMovers(r.Snapshot, t.Hosts),
				},
			}}
		}
	}
	return f
}

func (f *fixture) decide() session.Decision {
	return session.Next(session.Input{
		Now: f.at, Session: f.session, Snapshots: f.snapshots, Jobs: f.jobs, Refused: f.refused, Pods: f.pods,
		Copies: f.copies,
	})
}

// step decides and carries the decision out, as the controller does.
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

// succeeded is a Job whose mover reported success.
func succeeded(components ...string) session.Job {
	r := &task.Result{Outcome: task.OutcomeSucceeded}
	for _, c := range components {
		r.Components = append(r.Components, task.ComponentResult{
			Name: c, Outcome: task.OutcomeSucceeded, ID: "k" + c, SizeBytes: 3 << 20, UploadedBytes: 1 << 10,
		})
	}
	return session.Job{Observation: task.Observation{State: task.StateSucceeded, Result: r}, Finished: true}
}

// failed is a Job whose mover reported why it failed.
func failed(reason string) session.Job {
	return session.Job{Observation: task.Observation{State: task.StateFailed, Reason: reason, Result: &task.Result{
		Outcome: task.OutcomeFailed, Reason: reason, Message: "it says",
	}}, Finished: true}
}

// died is a Job that ended without a report of its mover.
func died(reason string, finished bool) session.Job {
	return session.Job{
		Observation: task.Observation{State: task.StateFailed, Reason: reason, Message: "observed"}, Finished: finished,
	}
}

func running() session.Job {
	return session.Job{Observation: task.Observation{State: task.StateRunning}}
}
