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

// Owner says whose Repository a mover works with, in which cluster.
type Owner struct {
	// Cluster is the name of the cluster.
	Cluster string
	// Namespace of the Repository. A restore can run in another one.
	Namespace string
}

// AllowedStorage returns the BackupStorage of a Repository that a run has frozen, or a refusal if there is none, or if
// its usagePolicy does not allow now what a mover in namespace is to do. It must be asked before each Job and each
// assignment.
func AllowedStorage(
	ctx context.Context, c client.Reader, of Owner, namespace string, repository v1alpha1.ResolvedRepository,
) (*v1alpha1.BackupStorage, error) {
	storage, err := StorageOf(ctx, c, repository)
	if err != nil {
		return nil, err
	}
	if err := access.Allowed(ctx, c, storage, namespace); err != nil {
		return nil, err
	}
	return storage, access.AllowedDirectory(storage, of.Cluster, of.Namespace, repository.Directory)
}

// CheckAccess returns the refusal of a credential with which ProvideAccess, or the assignment to a sidecar, would
// answer in a namespace now. It makes nothing, and does not look at the directory: AllowedStorage does.
func CheckAccess(
	ctx context.Context, c client.Reader, namespace string, repository v1alpha1.ResolvedRepository,
) error {
	storage, err := StorageOf(ctx, c, repository)
	if err != nil {
		return err
	}
	if err := access.Allowed(ctx, c, storage, namespace); err != nil {
		return err
	}
	_, err = access.Digest(ctx, c, namespace, storage, repository.EncryptionSecret)
	return err
}

// NamePassword makes the refusal of a Secret say first how a restore from another namespace, which names none, brings
// its own: the other ways out open the Secret of somebody else. It returns any other error unchanged. namespace is that
// of the restore.
func NamePassword(err error, namespace string) error {
	refusal := RefusalOf(err)
	if refusal == nil || refusal.Reason != v1alpha1.ReasonEncryptionSecretNotAvailable {
		return err
	}
	return Refuse(refusal.Reason, "name a Secret of namespace %s with the repository's password in "+
		"dataSource.encryptionSecret (--encryption-secret). Without one the Repository's own is used: %s", namespace,
		refusal.Message)
}

// ProvideAccess makes sure that a mover of owner finds its ServiceAccount and credentials in the owner's namespace. It
// checks each time whether the mover is allowed to have them. An error that a user must fix is one that RefusalOf
// recognises. secrets is the prefix of the names of copied Secrets.
func ProvideAccess(
	ctx context.Context, c client.Client, owner client.Object, of Owner, repository v1alpha1.ResolvedRepository,
	secrets string,
) (MoverAccess, error) {
	var out MoverAccess
	namespace := owner.GetNamespace()
	storage, err := AllowedStorage(ctx, c, of, namespace, repository)
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
