package backupbatch

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/repositories"
	"github.com/cairn-backup/cairn/internal/policy"
)

func (r *Reconciler) binder() repositories.Binder {
	return repositories.Binder{
		Client: r.Client, Live: r.APIReader, Writer: r.writer(), Users: users, Marked: marked,
	}
}

// bound maintains what binds a batch to the Repositories that are to be deleted with it. done reports that this
// reconcile has nothing else to do.
func (r *Reconciler) bound(
	ctx context.Context, req ctrl.Request, batch *v1alpha1.BackupBatch,
) (done bool, result ctrl.Result, err error) {
	return r.binder().Bind(ctx, req.NamespacedName, batch, func() bool { return saysDelete(batch) },
		func() (ctrl.Result, error) { return r.finalize(ctx, batch) })
}

// saysDelete reports whether the deletionPolicy of a repository of the batch deletes anything.
func saysDelete(batch *v1alpha1.BackupBatch) bool {
	goes := func(infos []v1alpha1.RepositoryInfo) bool {
		return slices.ContainsFunc(infos, func(i v1alpha1.RepositoryInfo) bool {
			return policy.ChosenRepository{DeletionPolicy: i.DeletionPolicy}.Goes()
		})
	}
	return slices.ContainsFunc(batch.Spec.Sessions, func(s v1alpha1.BackupBatchSession) bool {
		return goes(s.Repositories) || slices.ContainsFunc(s.Targets, func(t v1alpha1.BatchSessionTarget) bool {
			return goes(t.Repositories)
		})
	})
}

// finalize deletes the Repositories that are to go with a batch that is being deleted, and removes the finalizer. Only
// those of present targets go: Repositories of targets that have left the batch stay, and an event names them. The
// children go first, because they would create their Repositories again.
func (r *Reconciler) finalize(ctx context.Context, batch *v1alpha1.BackupBatch) (ctrl.Result, error) {
	if !slices.Contains(batch.Finalizers, v1alpha1.FinalizerRepositories) {
		logs.BeingDeleted(ctx)
		return ctrl.Result{}, nil
	}
	binder := r.binder()
	why, err := binder.MayGo(ctx, batch)
	if err != nil {
		return ctrl.Result{}, err
	}
	if why != "" {
		if saysDelete(batch) {
			r.Event(batch, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, "Cairn removes no data: "+why)
		}
		_, err := r.writer().Release(ctx, batch, v1alpha1.FinalizerRepositories)
		return ctrl.Result{}, err
	}
	// Children and targets as of one moment: what leaves the batch later stays in the list of what goes.
	targets, err := r.present(ctx, batch)
	if err != nil {
		return ctrl.Result{}, err
	}
	if waits, err := r.removeChildren(ctx, batch); waits || err != nil {
		return ctrl.Result{RequeueAfter: repositories.Again}, err
	}
	chosen := policy.BatchRepositories(batch, targets)
	departure := binder.Departure(batch, func(u *v1alpha1.BackupConfiguration) bool {
		return metav1.IsControlledBy(u, batch)
	})
	for _, c := range chosen {
		if !c.Goes() {
			continue
		}
		if waits, err := departure.LetGo(ctx, c); waits || err != nil {
			return ctrl.Result{RequeueAfter: repositories.Again}, err
		}
	}
	left, err := binder.Retained(ctx, batch.Namespace, invokerOf(batch), chosen)
	if err != nil {
		return ctrl.Result{}, err
	}
	if message := policy.RetainedMessage(left); message != "" {
		r.Event(batch, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, message)
	}
	_, err = r.writer().Release(ctx, batch, v1alpha1.FinalizerRepositories)
	return ctrl.Result{}, err
}

// present returns the targets of the batch that its status and the cluster both know: not those that have just left,
// although the batch did not look since.
func (r *Reconciler) present(ctx context.Context, batch *v1alpha1.BackupBatch) ([]policy.Target, error) {
	candidates, err := r.selection.Candidates(ctx, r.Client, r.APIReader, batch)
	if err != nil {
		return nil, err
	}
	now := policy.Targets(batch, policy.FindAmong(batch, candidates))
	return slices.DeleteFunc(policy.KnownTargets(batch), func(t policy.Target) bool {
		return !slices.Contains(now, t)
	}), nil
}

// removeChildren deletes the children of a batch that is being deleted, and reports whether any of them still exists.
func (r *Reconciler) removeChildren(ctx context.Context, batch *v1alpha1.BackupBatch) (waits bool, err error) {
	var list v1alpha1.BackupConfigurationList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(batch.Namespace),
		client.MatchingLabels{v1alpha1.LabelBatch: policy.LabelValue(batch.Name)}); err != nil {
		return false, fmt.Errorf("list children of BackupBatch %s: %w", batch.Name, err)
	}
	for i := range list.Items {
		child := &list.Items[i]
		if !metav1.IsControlledBy(child, batch) {
			continue
		}
		waits = true
		if !child.DeletionTimestamp.IsZero() {
			continue
		}
		if err := r.Delete(ctx, child, client.Preconditions{UID: &child.UID}); client.IgnoreNotFound(err) != nil {
			return waits, fmt.Errorf("delete BackupConfiguration %s: %w", child.Name, err)
		}
	}
	return waits, nil
}

func invokerOf(batch *v1alpha1.BackupBatch) policy.Invoker {
	return policy.Invoker{Kind: v1alpha1.BackupBatchKind, Name: batch.Name}
}
