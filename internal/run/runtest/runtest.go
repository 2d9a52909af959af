// Package runtest builds observed Jobs and frozen targets for tests.
package runtest

import (
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// Now is when the runs of tests start.
var Now = time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)

// Target returns the target of a StatefulSet with one Repository and the given hosts, each with one volume.
func Target(name string, hosts ...string) v1alpha1.ResolvedTarget {
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

// Job returns the name of the Job of a mover.
func Job(target, host string, attempt int) string {
	return run.JobName("snap-"+target, host, attempt)
}

// Succeeded is a Job whose mover reported success.
func Succeeded(components ...string) run.Job {
	r := &task.Result{Outcome: task.OutcomeSucceeded}
	for _, c := range components {
		r.Components = append(r.Components, task.ComponentResult{
			Name: c, Outcome: task.OutcomeSucceeded, ID: "k" + c, SizeBytes: 3 << 20, UploadedBytes: 1 << 10,
		})
	}
	return run.Job{Observation: observe.Observation{State: observe.StateSucceeded, Result: r}, Finished: true}
}

// Failed is a Job whose mover reported why it failed.
func Failed(reason string) run.Job {
	return run.Job{Observation: observe.Observation{State: observe.StateFailed, Reason: reason, Result: &task.Result{
		Outcome: task.OutcomeFailed, Reason: reason, Message: "it says",
	}}, Finished: true}
}

// Died is a Job that ended without a report of its mover.
func Died(reason string, finished bool) run.Job {
	return run.Job{
		Observation: observe.Observation{State: observe.StateFailed, Reason: reason, Message: "observed"},
		Finished:    finished,
	}
}

// Running is a Job whose mover works.
func Running() run.Job {
	return run.Job{Observation: observe.Observation{State: observe.StateRunning}}
}
