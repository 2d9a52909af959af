// Package claim lets PersistentVolumeClaims go that somebody deletes. Kubernetes keeps a deleted claim as long as a pod
// names it, also a pod that has ended. Cairn keeps the Jobs of ended runs for their logs, some without a limit in time,
// so their pods would hold the claim until somebody finds them.
//
// A Reconciler is safe for concurrent use. Invariants: a Job whose result nobody has noted yet stays
// (TestOtherJobsStayAlthoughTheirClaimIsBeingDeleted), and so do the Jobs that hold the backups of a BackupStorage
// (TestTheClaimOfABackupStorageIsNotLetGo).
package claim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// lookAgain is how often a claim that is being deleted is looked at: a run can end whose Jobs name it.
const lookAgain = time.Minute

// Reconciler deletes the Jobs of ended runs whose pods name a claim that is being deleted. It reads only the cache.
// That can be behind, but what has ended stays so. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// told holds, by their names, the UIDs of the claims of which an event says that they are not let go.
	told sync.Map
}

// Reconcile deletes the ended Jobs that hold a claim, and looks again as long as the claim is there.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	claim := &metav1.PartialObjectMetadata{}
	claim.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(v1alpha1.KindPersistentVolumeClaim))
	if err := r.Get(ctx, req.NamespacedName, claim); err != nil {
		r.told.Delete(req.NamespacedName)
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
	jobs, err := r.releasable(ctx, req.Namespace, pods.Items)
	if err := errors.Join(err, r.letGo(ctx, claim, jobs)); err != nil {
		return ctrl.Result{}, err
	}
	logf.FromContext(ctx).V(1).Info("waits until no pod uses the claim", "pods", len(pods.Items),
		"after", lookAgain.String())
	return ctrl.Result{RequeueAfter: lookAgain}, nil
}

// letGo deletes the Jobs that hold a claim, unless it has the backups of a BackupStorage. A Job that can't be deleted
// does not keep the others.
func (r *Reconciler) letGo(ctx context.Context, claim *metav1.PartialObjectMetadata, jobs []*batchv1.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	storages, err := r.storagesIn(ctx, claim)
	if err != nil {
		return err
	}
	if len(storages) > 0 {
		r.tell(claim, storages, jobs)
		return nil
	}
	var errs []error
	for _, job := range jobs {
		errs = append(errs, r.release(ctx, job))
	}
	return errors.Join(errs...)
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

// releasable returns the Jobs of these pods, sorted by name, that can be deleted: Cairn made them, they have ended, and
// the status of their owner holds their result for good. With an error it also returns those that it knows of.
func (r *Reconciler) releasable(ctx context.Context, namespace string, pods []corev1.Pod) ([]*batchv1.Job, error) {
	var out []*batchv1.Job
	var errs []error
	for uid, name := range endedJobs(pods) {
		job := &batchv1.Job{}
		if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, job); apierrors.IsNotFound(err) {
			continue // Its pods go, too.
		} else if err != nil {
			errs = append(errs, fmt.Errorf("get Job %s/%s: %w", namespace, name, err))
			continue
		}
		if job.UID != uid || job.DeletionTimestamp != nil || !observe.Ended(job) ||
			job.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn {
			continue
		}
		ended, err := r.ownerEnded(ctx, job)
		if ended {
			out = append(out, job)
		}
		errs = append(errs, err)
	}
	slices.SortFunc(out, func(a, b *batchv1.Job) int { return strings.Compare(a.Name, b.Name) })
	return out, errors.Join(errs...)
}

// release deletes a Job with its pods.
func (r *Reconciler) release(ctx context.Context, job *batchv1.Job) error {
	// In the foreground, as everywhere: where a Job is missing, its pods are gone.
	err := r.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground),
		client.Preconditions{UID: &job.UID})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete Job %s/%s: %w", job.Namespace, job.Name, err)
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
