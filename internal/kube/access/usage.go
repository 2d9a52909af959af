package access

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Allowed returns an *Error if namespace is not allowed to use storage.
func Allowed(ctx context.Context, c client.Reader, storage *v1alpha1.BackupStorage, namespace string) error {
	if storage.Spec.Storage.Local != nil && storage.Namespace != namespace {
		return &Error{
			v1alpha1.ReasonStorageNotAllowed,
			policy.NotAllowedVolumeMessage(describe(v1alpha1.BackupStorageKind, storage)),
		}
	}
	if local := storage.Spec.Storage.Local; local != nil && local.PersistentVolumeClaim == nil {
		return volumeAllowed(ctx, c, storage)
	}
	return MayUse(ctx, c, v1alpha1.BackupStorageKind, storage, storage.Spec.UsagePolicy.Namespaces(), namespace,
		v1alpha1.ReasonStorageNotAllowed)
}

// volumeAllowed returns an *Error if the storage's namespace is not allowed to use directories of nodes and of servers.
func volumeAllowed(ctx context.Context, c client.Reader, storage *v1alpha1.BackupStorage) error {
	privileged, err := Privileged(ctx, c, storage.Namespace)
	if err != nil || privileged {
		return err
	}
	what := "a hostPath"
	if storage.Spec.Storage.Local.NFS != nil {
		what = "an NFS share"
	}
	return refuse(v1alpha1.ReasonPrivilegeRequired,
		"%s is not a PersistentVolumeClaim but %s, which needs the annotation %s: \"true\" on the Namespace",
		describe(v1alpha1.BackupStorageKind, storage), what, v1alpha1.AnnotationPrivilegedMovers)
}

// MayUse returns an *Error with the given reason if namespace is not allowed to refer to an object with this usage
// policy. Every reference across namespaces is checked here: when policy is reconciled and again before a Job is
// created.
func MayUse(
	ctx context.Context, c client.Reader, kind string, object client.Object, usage *v1alpha1.UsagePolicy, namespace,
	reason string,
) error {
	if object.GetNamespace() == namespace {
		return nil
	}
	var ns corev1.Namespace
	if err := c.Get(ctx, client.ObjectKey{Name: namespace}, &ns); err != nil {
		return fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	if !policy.Allowed(usage, object.GetNamespace(), namespace, ns.Labels) {
		return &Error{reason, policy.NotAllowedMessage(describe(kind, object), namespace)}
	}
	return nil
}

func describe(kind string, object client.Object) string {
	return kind + " " + object.GetNamespace() + "/" + object.GetName()
}

// AllowedDirectory returns an *Error if the Repositories of a namespace must not lie in a directory of storage. cluster
// is the name of the cluster. Whoever works with a Repository asks this beside Allowed: when policy is reconciled, and
// again before a Job is created. namespace is that of the Repository, also where a Job restores into another one.
func AllowedDirectory(storage *v1alpha1.BackupStorage, cluster, namespace, directory string) error {
	if refusal := policy.DirectoryRefusal(storage, cluster, namespace, directory); refusal != "" {
		return &Error{v1alpha1.ReasonDirectoryNotAllowed, refusal}
	}
	return nil
}

// AllowedRepository returns an *Error if a Repository must not lie where it lies: Allowed and AllowedDirectory.
func AllowedRepository(
	ctx context.Context, c client.Reader, storage *v1alpha1.BackupStorage, cluster string,
	repository *v1alpha1.Repository,
) error {
	if err := Allowed(ctx, c, storage, repository.Namespace); err != nil {
		return err
	}
	return AllowedDirectory(storage, cluster, repository.Namespace, repository.Spec.Path)
}
