// Package kubelet plays the Job controller, the kubelet, and the garbage collector of Jobs, in tests against an API
// server that has none of them.
//
// A test ends the Jobs of a namespace round by round with Step, or in the background with Run, or one by one with Job
// and Finish.
package kubelet

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kubelet ends the Jobs of a namespace.
type Kubelet struct {
	// Client is allowed to do everything in the namespace.
	Client client.WithWatch
	// Namespace is where the Jobs are.
	Namespace string
	// Outcome returns how a Job ends. It can do the work of the Job's mover, too.
	Outcome func(*batchv1.Job) Outcome
}

// Step ends every unfinished Job as Outcome says, and removes deleted Jobs with their pods. It returns how many Jobs it
// changed.
func (k Kubelet) Step(ctx context.Context) (int, error) {
	var jobs batchv1.JobList
	if err := k.Client.List(ctx, &jobs, client.InNamespace(k.Namespace)); err != nil {
		return 0, fmt.Errorf("list Jobs: %w", err)
	}
	changed := 0
	for i := range jobs.Items {
		job := &jobs.Items[i]
		switch {
		case job.DeletionTimestamp != nil:
			changed++
			if err := remove(ctx, k.Client, job); err != nil {
				return changed, err
			}
		case len(job.Status.Conditions) == 0:
			o := k.Outcome(job)
			pod, _, err := start(ctx, k.Client, job)
			if err != nil {
				return changed, err
			}
			if o.Hang {
				continue
			}
			changed++
			if err := end(ctx, k.Client, job, pod, o, metav1.Now()); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// Pod returns the pod of a Job, which does not exist yet.
func Pod(job *batchv1.Job) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: job.Name + "-x1y2z", Labels: job.Spec.Template.Labels,
			Annotations: job.Spec.Template.Annotations,
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job")),
			},
		},
		Spec: *job.Spec.Template.Spec.DeepCopy(),
	}
}

// start makes the pod of a Job run, and reports whether it created the pod.
func start(ctx context.Context, c client.Client, job *batchv1.Job) (*corev1.Pod, bool, error) {
	pod, created, err := schedule(ctx, c, job)
	if err != nil || !created {
		return pod, false, err
	}
	pod.Status.Phase = corev1.PodRunning
	if err := c.Status().Update(ctx, pod); err != nil {
		return nil, false, fmt.Errorf("start the pod of Job %s: %w", job.Name, err)
	}
	return pod, true, nil
}

// schedule creates the pod of a Job, or finds it, and reports whether it created the pod. It replaces the pod of an
// earlier Job with the same name.
func schedule(ctx context.Context, c client.Client, job *batchv1.Job) (*corev1.Pod, bool, error) {
	pod := Pod(job)
	err := c.Create(ctx, pod)
	if apierrors.IsAlreadyExists(err) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return nil, false, fmt.Errorf("get the pod of Job %s: %w", job.Name, err)
		}
		if metav1.IsControlledBy(pod, job) {
			return pod, false, nil
		}
		if err := c.Delete(ctx, pod, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			return nil, false, fmt.Errorf("delete the pod of the earlier Job %s: %w", job.Name, err)
		}
		pod = Pod(job)
		err = c.Create(ctx, pod)
	}
	if err != nil {
		return nil, false, fmt.Errorf("create the pod of Job %s: %w", job.Name, err)
	}
	return pod, true, nil
}

// end ends a pod and its Job at a time.
func end(ctx context.Context, c client.Client, job *batchv1.Job, pod *corev1.Pod, o Outcome, at metav1.Time) error {
	var err error
	if pod.Status, err = o.status(); err != nil {
		return fmt.Errorf("end the pod of Job %s: %w", job.Name, err)
	}
	if err := c.Status().Update(ctx, pod); err != nil {
		return fmt.Errorf("end the pod of Job %s: %w", job.Name, err)
	}
	before := job.DeepCopy()
	kinds := []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
	job.Status.StartTime = &at
	if o.ok() {
		kinds = []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
		job.Status.CompletionTime, job.Status.Succeeded = &at, 1
	} else {
		job.Status.Failed = 1
	}
	for _, kind := range kinds {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: at, LastProbeTime: at,
			Reason: "BackoffLimitExceeded",
		})
	}
	if err := c.Status().Patch(ctx, job, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("end Job %s: %w", job.Name, err)
	}
	return nil
}

// remove does what the garbage collector does for a deletion in the foreground.
func remove(ctx context.Context, c client.Client, job *batchv1.Job) error {
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(job.Namespace)); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		if !metav1.IsControlledBy(&pods.Items[i], job) {
			continue
		}
		err := c.Delete(ctx, &pods.Items[i], client.GracePeriodSeconds(0))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete the pod of Job %s: %w", job.Name, err)
		}
	}
	before := job.DeepCopy()
	job.Finalizers = nil
	if err := c.Patch(ctx, job, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("let Job %s go: %w", job.Name, err)
	}
	return nil
}
