package backup_test

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

const (
	backupPending   = v1alpha1.BackupSessionPending
	backupRunning   = v1alpha1.BackupSessionRunning
	backupSucceeded = v1alpha1.BackupSessionSucceeded
	backupFailed    = v1alpha1.BackupSessionFailed
	backupSkipped   = v1alpha1.BackupSessionSkipped
)

func broken(name, reason string) v1alpha1.ResolvedTarget {
	return v1alpha1.ResolvedTarget{Name: name, Error: &v1alpha1.ResolvedError{Reason: reason, Message: "because"}}
}

// fixture is a frozen run with its observed state.
type fixture struct {
	session   *v1alpha1.BackupSession
	snapshots map[string]*v1alpha1.Snapshot
	jobs      map[string]run.Job
	refused   map[string]*v1alpha1.ResolvedError
	copies    map[string]backup.Copy
	pods      int
	at        time.Time
}

// frozen returns a run that has just started, with its Snapshots.
func frozen(targets ...v1alpha1.ResolvedTarget) *fixture {
	return frozenAs(backup.Start{Timeout: time.Hour}, targets...)
}

// frozenAs returns a run that has just started with start, with its Snapshots.
func frozenAs(start backup.Start, targets ...v1alpha1.ResolvedTarget) *fixture {
	for _, t := range targets {
		start.Targets = append(start.Targets, backup.StartTarget{Resolved: t})
	}
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "run", Generation: 1}}
	s.Status = backup.Next(backup.Input{Now: runtest.Now, Session: s, Start: &start}).Status
	f := &fixture{
		session: s, snapshots: map[string]*v1alpha1.Snapshot{}, jobs: map[string]run.Job{},
		refused: map[string]*v1alpha1.ResolvedError{}, at: runtest.Now.Add(time.Minute),
	}
	for _, t := range s.Status.Resolved.Targets {
		for _, r := range t.Repositories {
			f.snapshots[r.Snapshot] = &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
				Name: r.Snapshot, Annotations: map[string]string{
					v1alpha1.AnnotationMovers: run.FirstMovers(r.Snapshot, t.Hosts),
				},
			}}
		}
	}
	return f
}

func (f *fixture) decide() backup.Decision {
	return backup.Next(backup.Input{
		Now: f.at, Session: f.session, Snapshots: f.snapshots, Jobs: f.jobs, Refused: f.refused, Pods: f.pods,
		Copies: f.copies,
	})
}

// step decides and carries the decision out, as the controller does.
func (f *fixture) step() backup.Decision {
	d := f.decide()
	for name, status := range d.Snapshots {
		f.snapshots[name].Status = status
		f.snapshots[name].Annotations[v1alpha1.AnnotationMovers] = d.Movers[name]
	}
	for _, name := range d.Delete {
		delete(f.jobs, name)
	}
	for _, m := range d.Create {
		f.jobs[m.Name] = run.Job{Observation: observe.Observation{State: observe.StateWaiting}}
	}
	f.session.Status = d.Status
	return d
}

func (f *fixture) component(target, name string) v1alpha1.Component {
	return f.snapshots["snap-"+target].Status.Components[name]
}
