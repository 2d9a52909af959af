package initjob

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// busy reports whether something else still works in the owner's place: a Job of an earlier owner with this name, a pod
// that outlives its Job for a while, or a rival.
func (r Runner) busy(ctx context.Context, req Request) (bool, error) {
	here, label := client.InNamespace(req.Owner.GetNamespace()),
		client.MatchingLabels{req.Label: policy.LabelValue(req.Owner.GetName())}
	var jobs batchv1.JobList
	if err := r.Reader.List(ctx, &jobs, here, label); err != nil {
		return false, fmt.Errorf("list init Jobs of %s: %w", req.Owner.GetName(), err)
	}
	now := r.Clock.Now()
	for i := range jobs.Items {
		job := &jobs.Items[i]
		if !metav1.IsControlledBy(job, req.Owner) && !observe.Ended(job) && lasts(job, now) &&
			initialises(job.Spec.Template.Annotations) {
			return true, nil
		}
	}
	var pods corev1.PodList
	if err := r.Reader.List(ctx, &pods, here, label); err != nil {
		return false, fmt.Errorf("list init pods of %s: %w", req.Owner.GetName(), err)
	}
	lives := func(pod corev1.Pod) bool {
		return !observe.PodEnded(&pod) && lasts(&pod, now) && initialises(pod.Annotations)
	}
	if slices.ContainsFunc(pods.Items, lives) {
		return true, nil
	}
	if req.Rival == nil {
		return false, nil
	}
	made := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	if err := r.Client.List(ctx, &pods, made, client.HasLabels{req.Label}); err != nil {
		return false, fmt.Errorf("list init pods: %w", err)
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; lives(*pod) && req.Rival(pod) {
			if genuine, err := r.genuine(ctx, req, pod); err != nil || genuine {
				return genuine, err
			}
		}
	}
	return false, nil
}

// longest is longer than any init Job can last. A label or a task is a mark that anybody can put on a pod or Job of
// their own: what has it for longer is none of ours, or hangs on a node that is lost.
const longest = 30 * time.Minute

// lasts reports whether a Job or its pod can still be at work.
func lasts(o client.Object, now time.Time) bool {
	created := o.GetCreationTimestamp()
	return created.IsZero() || now.Sub(created.Time) < longest
}

// initialises reports whether the annotations of a pod have the task of an init Job.
func initialises(annotations map[string]string) bool {
	for _, kind := range []task.Kind{task.KindInitStorage, task.KindInitRepository} {
		if _, err := task.Decode([]byte(annotations[v1alpha1.AnnotationTask]), kind); err == nil {
			return true
		}
	}
	return false
}
