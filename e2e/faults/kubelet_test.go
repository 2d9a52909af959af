package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/task"
)

// kubelet runs the Jobs of a namespace: it makes their pods, reports as their movers do, and ends them. It is also the
// garbage collector of those that are deleted.
type kubelet struct {
	cluster   *cluster
	namespace string
	movers    dynamic.Interface
	// silent reports whether the mover of a Job dies without a report.
	silent func(task.Task) bool

	mu   sync.Mutex
	runs map[string][]types.UID // the Jobs that ran, by name
	err  error
}

// startKubelet runs a kubelet until the test ends.
func startKubelet(t testing.TB, c *cluster, namespace string, silent func(task.Task) bool) *kubelet {
	t.Helper()
	movers, err := dynamic.NewForConfig(c.env.Config)
	if err != nil {
		t.Fatal(err)
	}
	k := &kubelet{cluster: c, namespace: namespace, movers: movers, silent: silent, runs: map[string][]types.UID{}}
	done := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := k.watch(ctx); err != nil && ctx.Err() == nil {
				k.mu.Lock()
				k.err = errors.Join(k.err, err)
				k.mu.Unlock()
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
		if k.err != nil {
			t.Errorf("run jobs: %v", k.err)
		}
	})
	return k
}

// watch handles each change of a Job.
func (k *kubelet) watch(ctx context.Context) error {
	w, err := k.cluster.client.Watch(ctx, &batchv1.JobList{}, client.InNamespace(k.namespace),
		client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})
	if err != nil {
		return err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		job, ok := event.Object.(*batchv1.Job)
		if !ok {
			return apierrors.FromObject(event.Object)
		}
		if err := k.handle(ctx, job); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("job %s: %w", job.Name, err)
		}
	}
	return nil
}

func (k *kubelet) handle(ctx context.Context, job *batchv1.Job) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: job.Name + "-x1y2z", Labels: job.Spec.Template.Labels,
			Annotations: job.Spec.Template.Annotations,
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job")),
			},
		},
		Spec: *job.Spec.Template.Spec.DeepCopy(),
	}
	switch {
	case job.DeletionTimestamp != nil:
		if err := client.IgnoreNotFound(k.cluster.client.Delete(ctx, pod, client.GracePeriodSeconds(0))); err != nil {
			return err
		}
		before := job.DeepCopy()
		job.Finalizers = nil
		return k.cluster.client.Patch(ctx, job, client.MergeFrom(before))
	case len(job.Status.Conditions) > 0:
		return nil
	}
	err := k.cluster.client.Create(ctx, pod)
	if apierrors.IsAlreadyExists(err) {
		return nil // it was run, and this is an older state of the Job
	}
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.runs[job.Name] = append(k.runs[job.Name], job.UID)
	k.mu.Unlock()
	pod.Status.Phase = corev1.PodRunning
	if err := k.cluster.client.Status().Update(ctx, pod); err != nil {
		return err
	}
	result, err := k.move(ctx, job)
	if err != nil {
		return err
	}
	return k.end(ctx, job, pod, result)
}

// move does what a mover does to the API. Without a result the mover died.
func (k *kubelet) move(ctx context.Context, job *batchv1.Job) (*task.Result, error) {
	t, err := taskOf(job)
	if err != nil {
		return nil, err
	}
	r := &task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded}
	if t.Kind != task.KindBackup {
		return r, nil
	}
	status := report.APIStatus{Client: k.movers, Namespace: t.Namespace}
	silent := k.silent(t)
	for _, c := range t.Components {
		if err := status.Snapshot(ctx, t.Snapshot.Name, c.Name,
			v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}); err != nil {
			return nil, err
		}
		if silent {
			continue
		}
		done := task.ComponentResult{
			Name: c.Name, Outcome: task.OutcomeSucceeded, ID: "k" + string(t.Snapshot.UID[:8]) + c.Name,
			SizeBytes: 2 << 20, UploadedBytes: 1 << 20,
			ComponentCounts: v1alpha1.ComponentCounts{Files: 3},
		}
		r.Components = append(r.Components, done)
		if err := status.Snapshot(ctx, t.Snapshot.Name, c.Name, done.Component(v1alpha1.DriverKopia)); err != nil {
			return nil, err
		}
	}
	if silent {
		return nil, nil
	}
	return r, nil
}

// end writes the status of pod and Job as kubelet and Job controller do.
func (k *kubelet) end(ctx context.Context, job *batchv1.Job, pod *corev1.Pod, result *task.Result) error {
	end := &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}
	pod.Status.Phase = corev1.PodFailed
	if result != nil {
		message, err := task.EncodeResult(*result)
		if err != nil {
			return err
		}
		end = &corev1.ContainerStateTerminated{Message: string(message), Reason: "Completed"}
		pod.Status.Phase = corev1.PodSucceeded
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: task.Container, State: corev1.ContainerState{Terminated: end}},
	}
	if err := k.cluster.client.Status().Update(ctx, pod); err != nil {
		return err
	}
	now := metav1.NewTime(time.Now())
	kinds := []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
	status := batchv1.JobStatus{StartTime: &now, Failed: 1}
	if result != nil {
		kinds = []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
		status = batchv1.JobStatus{StartTime: &now, CompletionTime: &now, Succeeded: 1}
	}
	for _, kind := range kinds {
		status.Conditions = append(status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now, LastProbeTime: now, Reason: "Played",
		})
	}
	before := job.DeepCopy()
	job.Status = status
	return k.cluster.client.Status().Patch(ctx, job, client.MergeFrom(before))
}

// ran returns the Jobs that ran, by name.
func (k *kubelet) ran() map[string][]types.UID {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[string][]types.UID{}
	for name, uids := range k.runs {
		out[name] = uids
	}
	return out
}

func taskOf(job *batchv1.Job) (task.Task, error) {
	text := job.Spec.Template.Annotations[v1alpha1.AnnotationTask]
	var errs error
	for _, kind := range []task.Kind{task.KindBackup, task.KindInitRepository, task.KindInitStorage} {
		t, err := task.Decode([]byte(text), kind)
		if err == nil {
			return t, nil
		}
		errs = errors.Join(errs, err)
	}
	return task.Task{}, errs
}
