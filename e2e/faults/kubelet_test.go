package faults

import (
	"context"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// startKubelet runs the Jobs of a namespace until the test ends. Their movers report to the API server as real ones do.
// silent reports whether the mover of a Job dies without a report.
func startKubelet(t testing.TB, c *cluster, namespace string, silent func(task.Task) bool) *kubelet.Runs {
	t.Helper()
	api, err := dynamic.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	move := func(job *batchv1.Job) kubelet.Outcome {
		work := kubelet.TaskOf(job)
		if work.Kind != task.KindBackup {
			return kubelet.Report(task.Result{
				Version: task.Version, Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded,
			})
		}
		status := report.APIStatus{Client: api, Namespace: work.Namespace}
		o, err := back(status, work, silent(work))
		// The run of a Snapshot that is gone was cancelled.
		if client.IgnoreNotFound(err) != nil {
			t.Errorf("play the mover of Job %s: %v", job.Name, err)
		}
		return o
	}
	return kubelet.Kubelet{Client: c.Client, Namespace: namespace, Outcome: move}.Run(t)
}

// back plays the mover of a backup. Without a report the mover dies.
func back(status report.APIStatus, work task.Task, silent bool) (kubelet.Outcome, error) {
	ctx := context.Background()
	r := task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded}
	for _, c := range work.Components {
		running := v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
		if err := status.Snapshot(ctx, work.Snapshot.Object(), c.Name, running); err != nil {
			return kubelet.Outcome{Hang: true}, err
		}
		if silent {
			continue
		}
		done := kubelet.Moved(c.Name, "k"+string(work.Snapshot.UID[:8])+c.Name)
		r.Components = append(r.Components, done)
		err := status.Snapshot(ctx, work.Snapshot.Object(), c.Name, done.Component(v1alpha1.DriverKopia))
		if err != nil {
			return kubelet.Outcome{Hang: true}, err
		}
	}
	if silent {
		return kubelet.Outcome{}, nil
	}
	return kubelet.Report(r), nil
}
