// Package movers observes the Jobs, pods and sidecars of a session, and makes and deletes Jobs.
//
// It keeps no state but Pauses, and is safe for concurrent use; each operation can be repeated. It observes and deletes
// only Jobs that the session controls.
package movers

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// Observe lists the Jobs that owner controls, by name, and counts the mover pods that have not ended. label is the
// label that holds the owner's name. A Job whose deletion has not finished within run.WaitForPods counts as gone.
func Observe(
	ctx context.Context, c client.Reader, owner client.Object, label string, now time.Time,
) (map[string]run.Job, int, error) {
	selector := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, label: owner.GetName()}
	var jobs batchv1.JobList
	if err := c.List(ctx, &jobs, client.InNamespace(owner.GetNamespace()), selector); err != nil {
		return nil, 0, fmt.Errorf("list Jobs of %s: %w", owner.GetName(), err)
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(owner.GetNamespace()), selector); err != nil {
		return nil, 0, fmt.Errorf("list Pods of %s: %w", owner.GetName(), err)
	}
	out := map[string]run.Job{}
	var unfinished []string
	for i := range jobs.Items {
		if job := &jobs.Items[i]; metav1.IsControlledBy(job, owner) && !deletionStuck(job, now) {
			o := observeJob(job, pods.Items, now)
			out[job.Name] = o
			ongoing := o.State == observe.StateWaiting || o.State == observe.StateRunning
			if ongoing && o.Message != "" {
				logf.FromContext(ctx).V(1).Info("waits for the pod of a Job", "job", klog.KObj(job), "reason", o.Reason,
					"message", o.Message)
			}
			if ongoing {
				unfinished = append(unfinished, job.Name)
			}
		}
	}
	slices.Sort(unfinished)
	if n := len(unfinished); n > 0 {
		logf.FromContext(ctx).V(1).Info("waits for Jobs", "jobs", unfinished[:min(n, maxLogged)], "count", n)
	}
	return out, unfinishedMoverPods(pods.Items, jobs.Items, owner, now), nil
}

func observeJob(job *batchv1.Job, pods []corev1.Pod, now time.Time) run.Job {
	out := run.Job{
		Observation: observe.Observe(job, pods, now), UID: job.UID, Hook: isHook(job),
		Created: job.CreationTimestamp.Time, Deleted: job.DeletionTimestamp,
		Snapshot: types.UID(job.Annotations[v1alpha1.AnnotationSnapshotUID]),
	}
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete, c.Type == batchv1.JobFailed:
			out.Finished = true
		case c.Type == batchv1.JobFailureTarget:
			// The Job will certainly fail. If somebody deletes a pod, the pod is gone before the Job says that it has
			// failed.
			out.Finished = out.Finished || job.Status.Active == 0 && ptr.Deref(job.Status.Terminating, 0) == 0
		}
	}
	return out
}

// deletionStuck reports whether a deleted Job waits for something that can stay away, such as a report from a dead
// node.
func deletionStuck(job *batchv1.Job, now time.Time) bool {
	return job.DeletionTimestamp != nil && observe.Lasted(job.DeletionTimestamp.Time, now, run.WaitForPods)
}

func isHook(o client.Object) bool { return o.GetLabels()[v1alpha1.LabelHook] != "" }

// unfinishedMoverPods counts the mover pods that have not ended and are of the owner: of one of its Jobs, or made after
// it. A deleted owner of the same name can have left older pods. Which ones are older nobody can tell if a clock of the
// future has dated the owner.
func unfinishedMoverPods(pods []corev1.Pod, jobs []batchv1.Job, owner client.Object, now time.Time) int {
	created := owner.GetCreationTimestamp()
	n := 0
	for i := range pods {
		p := &pods[i]
		own := v1alpha1.Ahead(created.Time, now) || !p.CreationTimestamp.Before(&created) ||
			slices.ContainsFunc(jobs, func(j batchv1.Job) bool {
				return metav1.IsControlledBy(p, &j) && metav1.IsControlledBy(&j, owner)
			})
		if own && !isHook(p) && !observe.PodEnded(p) {
			n++
		}
	}
	return n
}

// graceAfterRun is added to the time of a Job, so that its run always ends first. Kubernetes counts whole seconds from
// the last whole second before the Job started, and the controller can look at the run a second late.
const graceAfterRun = 10 * time.Second

// Timeout returns the timeout of a Job whose run ends at deadline. 0 means none: the run has no deadline, which is the
// zero time. A timeout takes effect only if the manager does not end the run: usually the run ends its Jobs and says
// why. A mover that Kubernetes stops earlier reports only that it was told to stop.
func Timeout(deadline, now time.Time) time.Duration {
	if deadline.IsZero() {
		return 0
	}
	return max(deadline.Sub(now), 0) + graceAfterRun
}

// Create makes a Job, or finds that it was made before. If a Job of another owner still has the name, that owner was
// deleted and its Job is being deleted, too: the error asks to try again later. A Job that the API server will never
// accept is refused, and so is one that it does not accept for now, or that would get a Secret which policy must not
// use.
func Create(ctx context.Context, c client.Client, live client.Reader, owner client.Object, job *batchv1.Job) error {
	if err := access.MayRun(ctx, c, live, owner, job); err != nil {
		return err
	}
	err := c.Create(ctx, job)
	if err == nil {
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return AsDenial(fmt.Errorf("create Job %s/%s: %w", job.Namespace, job.Name, err))
	}
	made, err := Made(ctx, live, owner, job)
	if err == nil && !made {
		err = fmt.Errorf("create Job %s/%s: the name is still in use by a Job of a session that was deleted",
			job.Namespace, job.Name)
	}
	return err
}

// Made reports whether a Job of this name exists and belongs to owner.
func Made(ctx context.Context, live client.Reader, owner client.Object, job *batchv1.Job) (bool, error) {
	var found batchv1.Job
	if err := live.Get(ctx, client.ObjectKeyFromObject(job), &found); apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("get Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return metav1.IsControlledBy(&found, owner), nil
}

// Delete deletes a Job of owner and its pods, if the Job exists. The Job stays until its pods are gone, so a missing
// Job means that there are no pods. A Job of somebody else that has the name stays. observed is what is known of the
// Job: only its first deletion is logged. live is asked about a Job that was not observed.
func Delete(
	ctx context.Context, c client.Client, live client.Reader, owner client.Object, name string, observed run.Job,
) error {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: owner.GetNamespace(), Name: name, UID: observed.UID, DeletionTimestamp: observed.Deleted,
	}}
	if job.UID == "" {
		err := live.Get(ctx, client.ObjectKeyFromObject(job), job)
		if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(job, owner) {
			return nil
		} else if err != nil {
			return fmt.Errorf("get Job %s/%s: %w", owner.GetNamespace(), name, err)
		}
	}
	err := c.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground),
		client.Preconditions{UID: &job.UID})
	// A conflict means that another Job has the name by now.
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete Job %s/%s: %w", job.Namespace, name, err)
	}
	return nil
}
