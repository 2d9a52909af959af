package read

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
)

// RestoredRepository reads the Repository of a Snapshot for a restore. If the restore can't begin to read its data, it
// also returns why, and how long to wait for that to pass. The Repository is nil if it does not exist.
func RestoredRepository(ctx context.Context, c client.Reader, key client.ObjectKey) (
	repo *v1alpha1.Repository, refusal *v1alpha1.ResolvedError, wait time.Duration, err error,
) {
	repo = &v1alpha1.Repository{}
	err = Get(ctx, c, key, repo)
	if apierrors.IsNotFound(err) {
		return nil, &v1alpha1.ResolvedError{
			Reason: v1alpha1.ReasonRepositoryNotReady, Message: "there is no Repository " + key.Name,
		}, run.WaitForRepository, nil
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("get Repository %s: %w", key.Name, err)
	}
	readable := run.IsReady(repo)
	if !readable {
		if readable, err = canStillRead(ctx, c, repo); err != nil {
			return nil, nil, 0, err
		}
	}
	if readable {
		return repo, nil, 0, nil
	}
	reason, message, wait := run.WhyNotReady(repo)
	return repo, &v1alpha1.ResolvedError{Reason: reason, Message: message}, wait, nil
}

// canStillRead reports whether a restore can read a Repository that is not ready, because another one has taken its
// directory: its data is still there, as far as the other one keeps it.
func canStillRead(ctx context.Context, c client.Reader, repo *v1alpha1.Repository) (bool, error) {
	if !policy.Lost(repo) || !repo.DeletionTimestamp.IsZero() {
		return false, nil
	}
	var storage v1alpha1.BackupStorage
	key := repo.Spec.StorageRef.In(repo.Namespace)
	err := c.Get(ctx, key, &storage)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get BackupStorage %s: %w", key, err)
	}
	return err == nil && policy.KeepsIn(repo, &storage), nil
}

// ResolveRepository returns what a restore into a namespace freezes of a Repository. secret is the Secret that the
// restore names itself, or nil.
func ResolveRepository(
	repo *v1alpha1.Repository, secret *v1alpha1.ObjectReference, namespace string,
) v1alpha1.ResolvedRepository {
	out := v1alpha1.ResolvedRepository{Name: repo.Name, UID: repo.UID}
	if policy.HoldsVolumeSnapshots(repo) {
		return out
	}
	out.StorageRef, out.EncryptionSecret = repo.Spec.StorageRef, repo.Spec.EncryptionSecret
	out.Directory = policy.NormalizeDirectory(repo.Spec.Path)
	if out.StorageRef.Namespace == "" {
		out.StorageRef.Namespace = repo.Namespace
	}
	if out.EncryptionSecret.Namespace == "" {
		out.EncryptionSecret.Namespace = repo.Namespace
	}
	if secret != nil {
		out.EncryptionSecret = *secret
		if out.EncryptionSecret.Namespace == "" {
			out.EncryptionSecret.Namespace = namespace
		}
	}
	return out
}
