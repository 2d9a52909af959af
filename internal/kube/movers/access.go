package movers

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// MoverAccess is what a mover needs besides its task.
type MoverAccess struct {
	// Storage is the BackupStorage that the mover works with.
	Storage v1alpha1.BackupStorage
	// Credentials are those of the BackupStorage.
	Credentials moverjob.Credentials
	// Privileged reports whether the namespace allows movers that run as root.
	Privileged bool
}

// StorageOf returns the BackupStorage of a Repository that a run has frozen. It returns a refusal if there is none.
func StorageOf(
	ctx context.Context, c client.Reader, repository v1alpha1.ResolvedRepository,
) (*v1alpha1.BackupStorage, error) {
	var storage v1alpha1.BackupStorage
	key := client.ObjectKey{Namespace: repository.StorageRef.Namespace, Name: repository.StorageRef.Name}
	if err := c.Get(ctx, key, &storage); apierrors.IsNotFound(err) {
		return nil, Refuse(v1alpha1.ReasonStorageNotFound, "there is no BackupStorage %s", key)
	} else if err != nil {
		return nil, fmt.Errorf("get BackupStorage %s: %w", key, err)
	}
	return &storage, nil
}

// ProvideAccess makes sure that a mover of owner finds its ServiceAccount and credentials in the owner's namespace. It
// checks each time whether the mover is allowed to have them. An error that a user must fix is one that RefusalOf
// recognises. secrets is the prefix of the names of copied Secrets.
func ProvideAccess(
	ctx context.Context, c client.Client, owner client.Object, repository v1alpha1.ResolvedRepository, secrets string,
) (MoverAccess, error) {
	var out MoverAccess
	namespace := owner.GetNamespace()
	storage, err := StorageOf(ctx, c, repository)
	if err != nil {
		return out, err
	}
	out.Storage = *storage
	if err := access.EnsureMover(ctx, c, namespace); err != nil {
		return out, AsDenial(err)
	}
	out.Credentials, err = access.EnsureCredentials(ctx, c, owner, namespace, &out.Storage,
		repository.EncryptionSecret, secrets)
	if err != nil {
		return out, AsDenial(err)
	}
	out.Privileged, err = access.Privileged(ctx, c, namespace)
	return out, err
}
