package backupconfiguration

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
)

// checkSidecar checks, for each session that runs in a sidecar, whether a sidecar can carry it out, and then whether
// the workload has the sidecar. The sidecar controller adds it to the workload.
func (r *Reconciler) checkSidecar(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings,
) error {
	any := false
	for i := range configuration.Spec.Sessions {
		session := &configuration.Spec.Sessions[i]
		if session.Addon.Name == "" {
			continue
		}
		addon := &v1alpha1.Addon{}
		if err := r.Get(ctx, types.NamespacedName{Name: session.Addon.Name}, addon); apierrors.IsNotFound(err) {
			addon = nil
		} else if err != nil {
			return fmt.Errorf("get Addon %s: %w", session.Addon.Name, err)
		}
		if catalog.Executor(session.Executor, addon, session.Addon, false) != v1alpha1.ExecutorSidecar {
			continue
		}
		any = true
		storage, err := r.storages(ctx, configuration)
		if err != nil {
			return err
		}
		for _, m := range catalog.SidecarMistakes(fmt.Sprintf("spec.sessions[%d]", i), *configuration.Spec.Target,
			session,
			addon, storage) {
			findings.invalid(m.Reason, m.Field+": "+m.Message)
		}
	}
	if !any || findings.anyInvalid() || r.Sidecars == nil {
		return nil
	}
	state, err := r.Sidecars(ctx, configuration.Namespace, *configuration.Spec.Target)
	switch {
	case err != nil:
		return err
	case state == nil || state.Policies[configuration.Name] != configuration.Generation && state.Reason == "":
		findings.notReady(v1alpha1.ReasonSidecarRolloutInProgress,
			fmt.Sprintf("the sidecar of %s is not prepared yet", configuration.Spec.Target))
	case state.Reason != "":
		findings.notReady(state.Reason, state.Message)
	}
	return nil
}

// storages returns a function that finds the BackupStorage of a backend; it returns nil for a BackupStorage that does
// not exist.
func (r *Reconciler) storages(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration,
) (func(backend string) *v1alpha1.BackupStorage, error) {
	known := map[string]*v1alpha1.BackupStorage{}
	for _, b := range configuration.Spec.Backends {
		if b.StorageRef == nil {
			continue
		}
		storage, err := defaults.Storage(ctx, r.Client, configuration.Namespace, *b.StorageRef)
		if err != nil {
			return nil, err
		}
		known[b.Name] = storage
	}
	return func(backend string) *v1alpha1.BackupStorage { return known[backend] }, nil
}
