package kubelet

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Runs are the Jobs that a Kubelet has run in the background. It is safe for concurrent use.
type Runs struct {
	mu   sync.Mutex
	jobs map[string][]types.UID
}

// Jobs returns the UIDs of the Jobs that ran, by name.
func (r *Runs) Jobs() map[string][]types.UID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.jobs)
}

func (r *Runs) add(job *batchv1.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs[job.Name] = append(r.jobs[job.Name], job.UID)
}

// Run ends the Jobs of Cairn in the background until the test ends. It calls Outcome once for each Job, when the Job's
// pod runs.
func (k Kubelet) Run(t testing.TB) *Runs {
	t.Helper()
	runs := &Runs{jobs: map[string][]types.UID{}}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := k.watch(ctx, runs); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run Jobs: %v", err)
		}
	})
	return runs
}

// watch handles each change of a Job.
func (k Kubelet) watch(ctx context.Context, runs *Runs) error {
	w, err := k.Client.Watch(ctx, &batchv1.JobList{}, client.InNamespace(k.Namespace),
		client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})
	if err != nil {
		return fmt.Errorf("watch Jobs: %w", err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		job, ok := event.Object.(*batchv1.Job)
		if !ok {
			return apierrors.FromObject(event.Object)
		}
		// A manager that writes the Job at the same time causes another event.
		if err := k.once(ctx, job, runs); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// once runs a Job, unless it has run. The job can be an older state of the Job.
func (k Kubelet) once(ctx context.Context, job *batchv1.Job, runs *Runs) error {
	switch {
	case job.DeletionTimestamp != nil:
		return remove(ctx, k.Client, job)
	case len(job.Status.Conditions) > 0:
		return nil
	}
	pod, created, err := start(ctx, k.Client, job)
	if err != nil || !created {
		return err
	}
	runs.add(job)
	o := k.Outcome(job)
	if o.Hang {
		return nil
	}
	return end(ctx, k.Client, job, pod, o, metav1.Now())
}
