// Package movers observes the Jobs and pods of a session, and makes and deletes Jobs in a way that can be repeated.
package movers

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/task"
)

// Observe lists the Jobs that owner controls, by name, and counts the movers' pods that have not ended. label is the label
// that says the owner's name. A Job whose deletion did not come to an end in session.WaitForPods counts as gone.
func Observe(ctx context.Context, c client.Reader, owner client.Object, label string, now time.Time) (map[string]session.Job, int, error) {
	selector := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, label: owner.GetName()}
	var jobs batchv1.JobList
	if err := c.List(ctx, &jobs, client.InNamespace(owner.GetNamespace()), selector); err != nil {
		return nil, 0, fmt.Errorf("list jobs of %s: %w", owner.GetName(), err)
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(owner.GetNamespace()), selector); err != nil {
		return nil, 0, fmt.Errorf("list pods of %s: %w", owner.GetName(), err)
	}
	out := map[string]session.Job{}
	for i := range jobs.Items {
		if job := &jobs.Items[i]; metav1.IsControlledBy(job, owner) && !stuck(job, now) {
			out[job.Name] = observe(job, pods.Items, now)
		}
	}
	return out, alive(pods.Items, owner), nil
}

func observe(job *batchv1.Job, pods []corev1.Pod, now time.Time) session.Job {
	out := session.Job{Observation: task.Observe(job, pods, now), Hook: isHook(job), Created: job.CreationTimestamp.Time}
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete, c.Type == batchv1.JobFailed:
			out.Finished = true
		case c.Type == batchv1.JobFailureTarget:
			// It fails for sure. A pod that somebody deleted is gone before the Job says that it has failed.
			out.Finished = out.Finished || job.Status.Active == 0 && ptr.Deref(job.Status.Terminating, 0) == 0
		}
	}
	return out
}

// stuck says whether a deleted Job waits for something that may never come, such as the word of a dead node.
func stuck(job *batchv1.Job, now time.Time) bool {
	return job.DeletionTimestamp != nil && now.After(job.DeletionTimestamp.Add(session.WaitForPods))
}

func isHook(o client.Object) bool { return o.GetLabels()[v1alpha1.LabelHook] != "" }

// alive counts the movers' pods that have not ended and were made after the owner: a namesake that was deleted may have left some.
func alive(pods []corev1.Pod, owner client.Object) int {
	n := 0
	for i := range pods {
		p := &pods[i]
		if !isHook(p) && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed &&
			!p.CreationTimestamp.Before(new(owner.GetCreationTimestamp())) {
			n++
		}
	}
	return n
}

// spare is more than a Job's own time can be short of its run's: Kubernetes counts whole seconds from the last whole second before
// the Job started, and who watches the run may look a second late.
const spare = 10 * time.Second

// Timeout is that of a Job whose run ends at deadline. It is for where nobody is there to end the run: else the run ends its Jobs,
// and says why. A mover that is stopped before that says only that it was told to stop.
func Timeout(deadline, now time.Time) time.Duration {
	return max(deadline.Sub(now), 0) + spare
}

// Create makes a Job, or finds that it was made before. It is an error that the name is still in use by a Job of another
// owner, which is being deleted with it: try again later. A Job that the API server will never take is refused.
func Create(ctx context.Context, c client.Client, live client.Reader, owner client.Object, job *batchv1.Job) error {
	err := c.Create(ctx, job)
	if err == nil {
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return Rejected(fmt.Errorf("create job %s/%s: %w", job.Namespace, job.Name, err))
	}
	var found batchv1.Job
	if err := live.Get(ctx, client.ObjectKeyFromObject(job), &found); err != nil {
		return fmt.Errorf("get job %s/%s: %w", job.Namespace, job.Name, err)
	}
	if !metav1.IsControlledBy(&found, owner) {
		return fmt.Errorf("create job %s/%s: the name is still in use by a Job of a session that was deleted", job.Namespace, job.Name)
	}
	return nil
}

// Delete deletes a Job and its pods, if it is there. The Job stays until its pods are gone, so that its absence says so.
func Delete(ctx context.Context, c client.Client, namespace, name string) error {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	err := c.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete job %s/%s: %w", namespace, name, err)
	}
	return nil
}
