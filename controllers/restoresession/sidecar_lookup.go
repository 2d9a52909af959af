package restoresession

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

// resolveSidecar refuses a restore that only a Job can carry out.
func (r *Reconciler) resolveSidecar(ctx context.Context, look *lookup) error {
	if look.Resolved.Executor != v1alpha1.ExecutorSidecar {
		return nil
	}
	look.target.Sidecar = true
	s, resolved := look.session, &look.Resolved
	if mistakes := catalog.SidecarRestoreMistakes(&s.Spec); len(mistakes) > 0 {
		look.refuse(0, mistakes[0].Reason, "%s: %s", mistakes[0].Field, mistakes[0].Message)
		return nil
	}
	if look.Error = sidecar.TaskRefusal(&resolved.Task, task.KindRestore); look.Error != nil {
		return nil
	}
	storage, err := movers.StorageOf(ctx, r.Client, resolved.Repository)
	if refusal := movers.RefusalOf(err); refusal != nil {
		look.Error = refusal
		return nil
	}
	if err != nil {
		return err
	}
	if look.Error = sidecar.StorageRefusal(storage); look.Error != nil {
		return nil
	}
	_, err = r.keysOf(ctx, s, resolved)
	if look.Error = movers.RefusalOf(err); look.Error != nil {
		look.Wait = waitForTarget // A GitOps tool can have applied the policy at the same moment.
		return nil
	}
	return err
}

// keysOf returns the names of the repository's keys in the sidecar's Secret. The Secret holds the keys of the
// repositories that the workload's own policies back up into, and no others.
func (r *Reconciler) keysOf(
	ctx context.Context, s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore,
) (sidecar.RepositoryKeys, error) {
	keys := sidecar.KeysOf(sourceNamespace(s), resolved.Repository.Name)
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, client.ObjectKey{
		Namespace: s.Namespace,
		Name:      sidecar.Name(s.Spec.Target.Kind, s.Spec.Target.Name),
	}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return "", movers.Refuse(v1alpha1.ReasonSidecarNotPossible,
			"%s has no sidecar: take executor Job, or a BackupConfiguration with executor Sidecar first", s.Spec.Target)
	case err != nil:
		return "", fmt.Errorf("get Secret of the sidecar: %w", err)
	case len(secret.Data[keys.Version()]) == 0:
		return "", movers.Refuse(v1alpha1.ReasonSidecarNotPossible,
			"the sidecar of %s has no keys of Repository %s, into which it does not back up: take executor Job",
			s.Spec.Target, resolved.Repository.Name)
	}
	return keys, nil
}
