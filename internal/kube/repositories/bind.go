package repositories

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
)

// Bind reads a policy and maintains what binds it to the Repositories that are to be deleted with it. The policy has
// FinalizerRepositories while deletes reports that a Repository is to go with it. finalize carries out its deletion.
// done reports that this reconcile has nothing else to do.
func (b Binder) Bind(
	ctx context.Context, key client.ObjectKey, o client.Object, deletes func() bool,
	finalize func() (ctrl.Result, error),
) (done bool, result ctrl.Result, err error) {
	if err := b.Client.Get(ctx, key, o); err != nil {
		return true, ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if logs.LeavesRecord(ctx, o) {
		return true, ctrl.Result{}, nil
	}
	if o.GetDeletionTimestamp() != nil {
		result, err := finalize()
		return true, result, err
	}
	version := o.GetResourceVersion()
	if deletes() {
		err = b.Writer.Hold(ctx, o, v1alpha1.FinalizerRepositories)
	} else {
		_, err = b.Writer.Release(ctx, o, v1alpha1.FinalizerRepositories)
	}
	return o.GetResourceVersion() != version, ctrl.Result{}, err // the change triggers another reconcile
}
