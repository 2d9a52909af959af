// Package claim lets PersistentVolumeClaims go that somebody deletes. Kubernetes keeps a deleted claim as long as a pod
// names it, also a pod that has ended. Cairn keeps the Jobs of ended runs for their logs, some without a limit in time,
// so their pods would hold the claim until somebody finds them.
package claim

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// lookAgain is how often a claim that is being deleted is looked at: a run can end whose Jobs name it.
const lookAgain = time.Minute

// Reconciler deletes the Jobs of ended runs whose pods name a claim that is being deleted. It reads only the cache.
// That can be behind, but what has ended stays so.
type Reconciler struct {
	client.Client
}

// Reconcile deletes the ended Jobs that hold a claim, and looks again as long as the claim is there.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	claim := &metav1.PartialObjectMetadata{}
	claim.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(v1alpha1.KindPersistentVolumeClaim))
	if err := r.Get(ctx, req.NamespacedName, claim); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if claim.DeletionTimestamp == nil {
		return ctrl.Result{}, nil // It was made again.
	}
	var pods corev1.PodList
	if err := r.List(ctx, &pods, client.InNamespace(req.Namespace), client.MatchingFields{indexClaim: req.Name},
		client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list Pods with PersistentVolumeClaim %s: %w", req, err)
	}
	for uid, name := range endedJobs(pods.Items) {
		if err := r.release(ctx, client.ObjectKey{Namespace: req.Namespace, Name: name}, uid); err != nil {
			return ctrl.Result{}, err
		}
	}
	logf.FromContext(ctx).V(1).Info("waits until no pod uses the claim", "pods", len(pods.Items),
		"after", lookAgain.String())
	return ctrl.Result{RequeueAfter: lookAgain}, nil
}

// endedJobs returns the names of the Jobs of which all these pods have ended, by UID.
func endedJobs(pods []corev1.Pod) map[types.UID]string {
	out, works := map[types.UID]string{}, map[types.UID]bool{}
	for i := range pods {
		if owner := metav1.GetControllerOf(&pods[i]); owner != nil && owner.Kind == "Job" {
			out[owner.UID] = owner.Name
			works[owner.UID] = works[owner.UID] || !observe.PodEnded(&pods[i])
		}
	}
	for uid := range out {
		if works[uid] {
			delete(out, uid)
		}
	}
	return out
}

// release deletes a Job with its pods if Cairn made it, it has ended, and the status of its owner holds its result for
// good.
func (r *Reconciler) release(ctx context.Context, key client.ObjectKey, uid types.UID) error {
	var job batchv1.Job
	if err := r.Get(ctx, key, &job); apierrors.IsNotFound(err) {
		return nil // Its pods go, too.
	} else if err != nil {
		return fmt.Errorf("get Job %s: %w", key, err)
	}
	if job.UID != uid || job.DeletionTimestamp != nil || !observe.Ended(&job) ||
		job.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn {
		return nil
	}
	if ended, err := r.ownerEnded(ctx, &job); err != nil || !ended {
		return err
	}
	// In the foreground, as everywhere: where a Job is missing, its pods are gone.
	err := r.Delete(ctx, &job, client.PropagationPolicy(metav1.DeletePropagationForeground),
		client.Preconditions{UID: &job.UID})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete Job %s: %w", key, err)
	}
	return nil
}

// ownerEnded reports whether a Job belongs to a run or restore that has ended. The controllers of keepers and init Jobs
// read the results of theirs, and then delete these Jobs themselves.
func (r *Reconciler) ownerEnded(ctx context.Context, job *batchv1.Job) (bool, error) {
	ref := metav1.GetControllerOf(job)
	if ref == nil || ref.APIVersion != v1alpha1.GroupVersion.String() {
		return false, nil
	}
	var owner interface {
		client.Object
		Ended() bool
	}
	switch ref.Kind {
	case v1alpha1.BackupSessionKind:
		owner = &v1alpha1.BackupSession{}
	case v1alpha1.RestoreSessionKind:
		owner = &v1alpha1.RestoreSession{}
	case v1alpha1.RestoreBatchKind:
		owner = &v1alpha1.RestoreBatch{}
	default:
		return false, nil
	}
	err := r.Get(ctx, client.ObjectKey{Namespace: job.Namespace, Name: ref.Name}, owner)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get %s %s/%s: %w", ref.Kind, job.Namespace, ref.Name, err)
	}
	return err == nil && owner.GetUID() == ref.UID && owner.Ended(), nil
}
