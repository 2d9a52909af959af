// Package keepers removes the Jobs of keepers and tells whether one still works. The controller of the keepers starts
// them. All functions are safe for concurrent use.
package keepers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// lostAfter is how long after its deletion a pod can still run before its node counts as dead.
const lostAfter = 10 * time.Minute

// CanRun reports whether a pod of a keeper can still work. A pod can outlive its Job for a while. A pod whose node does
// not end it counts as gone after ten minutes: then only the lease in the backend keeps the next one out.
func CanRun(pod *corev1.Pod, now time.Time) bool {
	lost := pod.DeletionTimestamp != nil && observe.Lasted(pod.DeletionTimestamp.Time, now, lostAfter)
	return !observe.PodEnded(pod) && !lost
}

// leaseOf returns the reference by which a Job says that a keeper has made it: its controller is the Lease of its name.
// It returns nil for other Jobs: a keeper's label is a mark that anybody can put on a Job of their own. Nobody else can
// give a Job the label of what Cairn makes: see the admission policy cairn-marks.
func leaseOf(job *batchv1.Job) *metav1.OwnerReference {
	owner := metav1.GetControllerOf(job)
	if owner == nil || job.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn ||
		owner.APIVersion != coordinationv1.SchemeGroupVersion.String() || owner.Kind != "Lease" ||
		owner.Name != job.Name {
		return nil
	}
	return owner
}

// Made reports whether a keeper has made a Job: the Lease of its name exists and is its controller. live reads Leases
// from the API server.
func Made(ctx context.Context, live client.Reader, job *batchv1.Job) (bool, error) {
	owner := leaseOf(job)
	if owner == nil {
		return false, nil
	}
	var lease coordinationv1.Lease
	err := live.Get(ctx, client.ObjectKeyFromObject(job), &lease)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Lease %s/%s: %w", job.Namespace, job.Name, err)
	}
	return err == nil && lease.UID == owner.UID, nil
}

// CopyName returns the prefix of the names of the Secrets that are copied for a repository of a Job.
func CopyName(job string, index int) string { return job + "-" + strconv.Itoa(index) }

// Remove deletes a Job with its pods, and the Secrets of its Lease that were copied for its work in a number of
// Repositories. The Job goes at once: on a dead node its pod never goes. Before the next Job starts, its controller
// looks for the pod.
func Remove(ctx context.Context, c client.Client, job *batchv1.Job, repositories int) error {
	if owner := leaseOf(job); owner != nil {
		for i := range repositories {
			if err := access.RemoveCopies(ctx, c, *owner, job.Namespace, CopyName(job.Name, i)); err != nil {
				return err
			}
		}
	}
	return End(ctx, c, job)
}

// End deletes a Job with its pods.
func End(ctx context.Context, c client.Client, job *batchv1.Job) error {
	err := c.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground),
		client.Preconditions{UID: &job.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return nil
}

// Stop removes the Job that removes the data of an object, a Repository or a Snapshot, and reports whether it can still
// work. The result of a Job that has ended is for its controller to write. A Job that no keeper has made is left alone,
// with its pods. live reads what the cache of c drops: the work of Jobs, and of pods whose Job is gone. Where no keeper
// works, Stop sends no request.
func Stop(ctx context.Context, c client.Client, live client.Reader, o client.Object, now time.Time) (bool, error) {
	var jobs batchv1.JobList
	of := []client.ListOption{client.InNamespace(o.GetNamespace()), client.HasLabels{v1alpha1.LabelKeeper}}
	if err := c.List(ctx, &jobs, of...); err != nil {
		return false, fmt.Errorf("list keepers: %w", err)
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, of...); err != nil {
		return false, fmt.Errorf("list pods of keepers: %w", err)
	}
	works, others := false, map[types.UID]bool{}
	for _, cached := range jobs.Items {
		if leaseOf(&cached) == nil {
			others[cached.UID] = true
			continue
		}
		uid, stops, err := stop(ctx, c, live, client.ObjectKeyFromObject(&cached), o.GetUID())
		if err != nil {
			return false, err
		}
		works, others[uid] = works || stops, true
	}
	// A pod does what its Job says. So only pods whose Job is gone have to be read.
	left := func(p corev1.Pod) bool {
		owner := metav1.GetControllerOf(&p)
		return CanRun(&p, now) && (owner == nil || !others[owner.UID])
	}
	if works || !slices.ContainsFunc(pods.Items, left) {
		return works, nil
	}
	if err := live.List(ctx, &pods, of...); err != nil {
		return false, fmt.Errorf("list pods of keepers: %w", err)
	}
	return slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool {
		_, removes := removes(p.Annotations, o.GetUID())
		return removes && left(p)
	}), nil
}

// stop removes a Job that removes the data of the object with a UID, and reports whether it is such a Job. It also
// returns the UID of the Job, "" if the Job no longer exists.
func stop(
	ctx context.Context, c client.Client, live client.Reader, key client.ObjectKey, uid types.UID,
) (types.UID, bool, error) {
	var job batchv1.Job
	if err := live.Get(ctx, key, &job); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return "", false, nil
		}
		return "", false, fmt.Errorf("get Job %s: %w", key, err)
	}
	t, removes := removes(job.Spec.Template.Annotations, uid)
	if !removes || observe.End(&job) != nil {
		return job.UID, removes, nil
	}
	return job.UID, true, Remove(ctx, c, &job, len(t.Keep))
}

// removes reports whether the task in these annotations removes the data of the object with a UID.
func removes(annotations map[string]string, uid types.UID) (task.Task, bool) {
	t, err := task.Decode([]byte(annotations[v1alpha1.AnnotationTask]), task.KindKeep)
	return t, err == nil && slices.ContainsFunc(t.Keep, func(k task.Keep) bool {
		return k.Wipe && k.Repository.UID == uid ||
			slices.ContainsFunc(k.Remove, func(s task.Removed) bool { return s.UID == uid })
	})
}
