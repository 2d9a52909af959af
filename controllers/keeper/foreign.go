package keeper

import (
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/keepers"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// end deletes a Job that has the name and the label of a keeper of this place but that none has made, or whose Lease is
// gone. Its result proves nothing. What is due is done by the next Job, once no pod of this one works any more.
func (r *Reconciler) end(ctx context.Context, p place, job *batchv1.Job) (ctrl.Result, error) {
	if !job.DeletionTimestamp.IsZero() {
		return r.going(ctx, p, job)
	}
	if err := keepers.End(ctx, r.Client, job); err != nil {
		return ctrl.Result{}, err
	}
	logf.FromContext(ctx).Info("ended a Job that no keeper has made", "job", klog.KObj(job))
	return ctrl.Result{RequeueAfter: soon}, nil
}

// occupied says why no Job can be started while another has the name: the cache lacks the keeper's own, or it is
// somebody else's.
func (r *Reconciler) occupied(ctx context.Context, job *batchv1.Job, work []keeper.Work) (ctrl.Result, error) {
	if job.Labels[v1alpha1.LabelKeeper] == job.Name && job.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn {
		logs.CacheIsBehind(ctx, "job", klog.KObj(job))
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	for i := range work {
		if err := r.fail(ctx, &work[i], v1alpha1.ReasonNameConflict,
			"Job "+job.Name+" is not Cairn's and has the name of its keeper: delete the Job"); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{RequeueAfter: storageInterval}, nil
}

// going waits for a Job that is being deleted: the next one has the same name. If it takes long, the work that waits
// says what holds the Job.
func (r *Reconciler) going(ctx context.Context, p place, job *batchv1.Job) (ctrl.Result, error) {
	logf.FromContext(ctx).V(1).Info("waits for the Job to go", "job", klog.KObj(job), "finalizers", job.Finalizers)
	now := r.Clock.Now()
	at := job.DeletionTimestamp.Time
	if p.job != "" || now.Sub(at) < stuckAfter && !observe.FarAhead(at, now) {
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	var storage v1alpha1.BackupStorage
	if err := r.Get(ctx, p.storage, &storage); err != nil {
		return ctrl.Result{RequeueAfter: storageInterval}, client.IgnoreNotFound(err)
	}
	work, _, err := r.due(ctx, p, &storage, now)
	if err != nil {
		return ctrl.Result{}, err
	}
	for i := range work {
		if err := r.fail(ctx, &work[i], v1alpha1.ReasonJobNotDeleted, fmt.Sprintf(
			"Job %s of an earlier keeper is being deleted and does not go: see what its finalizers (%s) wait for",
			job.Name, strings.Join(job.Finalizers, ", "))); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{RequeueAfter: storageInterval}, nil
}
