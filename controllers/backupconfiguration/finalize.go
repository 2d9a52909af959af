package backupconfiguration

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/repositories"
	"github.com/cairn-backup/cairn/internal/policy"
)

// bound maintains what binds a configuration to its Repositories. done reports that this reconcile has nothing else to
// do.
func (r *Reconciler) bound(
	ctx context.Context, req ctrl.Request, configuration *v1alpha1.BackupConfiguration,
) (done bool, result ctrl.Result, err error) {
	return r.binder().Bind(ctx, req.NamespacedName, configuration,
		func() bool { return len(repositoriesToDelete(configuration)) > 0 },
		func() (ctrl.Result, error) { return r.finalize(ctx, configuration) })
}

// repositoriesToDelete returns the repositories that are to be deleted with the configuration. A child of a batch is
// deleted when its target leaves the batch: nothing goes with it.
func repositoriesToDelete(configuration *v1alpha1.BackupConfiguration) []policy.ChosenRepository {
	if policy.InvokerOf(configuration).Kind == v1alpha1.BackupBatchKind {
		return nil
	}
	return slices.DeleteFunc(policy.ConfigurationRepositories(configuration),
		func(c policy.ChosenRepository) bool { return !c.Goes() })
}

func (r *Reconciler) binder() repositories.Binder {
	return repositories.Binder{
		Client: r.Client, Live: r.APIReader, Writer: r.writer(), Users: users, Marked: marked,
	}
}

// finalize deletes the Repositories that are to go with a configuration that is being deleted, and removes the
// finalizer. The Repositories carry out their deletionPolicy themselves. Those that the configuration used before stay.
func (r *Reconciler) finalize(ctx context.Context, configuration *v1alpha1.BackupConfiguration) (ctrl.Result, error) {
	if !slices.Contains(configuration.Finalizers, v1alpha1.FinalizerRepositories) {
		return ctrl.Result{}, nil
	}
	if goes := repositoriesToDelete(configuration); len(goes) > 0 {
		why, err := r.binder().MayGo(ctx, configuration)
		if err != nil {
			return ctrl.Result{}, err
		}
		if why != "" {
			r.Event(configuration, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, "Cairn removes no data: "+why)
		} else if waits, err := r.letGo(ctx, configuration, goes); waits || err != nil {
			return ctrl.Result{RequeueAfter: repositories.Again}, err
		}
	}
	_, err := r.writer().Release(ctx, configuration, v1alpha1.FinalizerRepositories)
	return ctrl.Result{}, err
}

// letGo deletes the Repositories that go with a configuration. An event names those that the configuration has left
// behind before.
func (r *Reconciler) letGo(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, goes []policy.ChosenRepository,
) (waits bool, err error) {
	departure := r.binder().Departure(configuration, func(u *v1alpha1.BackupConfiguration) bool {
		return u.UID == configuration.UID
	})
	for _, chosen := range goes {
		if waits, err := departure.LetGo(ctx, chosen); waits || err != nil {
			return waits, err
		}
	}
	left, err := r.binder().Retained(ctx, configuration.Namespace, policy.InvokerOf(configuration),
		policy.ConfigurationRepositories(configuration))
	if message := policy.RetainedMessage(left); err == nil && message != "" {
		r.Event(configuration, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, message)
	}
	return false, err
}
