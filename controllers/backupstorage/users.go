package backupstorage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// repositories returns the Repositories in the storage.
func (r *Reconciler) repositories(ctx context.Context, storage *v1alpha1.BackupStorage) ([]v1alpha1.Repository, error) {
	var list v1alpha1.RepositoryList
	if err := r.List(ctx, &list,
		client.MatchingFields{indexRepositories: storage.Namespace + "/" + storage.Name}); err != nil {
		return nil, fmt.Errorf("list Repositories of BackupStorage %s: %w", storage.Name, err)
	}
	out := slices.DeleteFunc(list.Items,
		func(r v1alpha1.Repository) bool { return v1alpha1.HasRecordAnnotation(r.Annotations) })
	slices.SortFunc(out, func(a, b v1alpha1.Repository) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out, nil
}

// made returns the Repositories in the storage without those that name it in a namespace that it does not allow, and
// that were never initialised: nothing of them is in the backend.
func (r *Reconciler) made(ctx context.Context, storage *v1alpha1.BackupStorage) ([]v1alpha1.Repository, error) {
	repositories, err := r.repositories(ctx, storage)
	if err != nil {
		return nil, err
	}
	var failed error
	use := complete.StorageUse{Storage: storage, Labels: labelsBy(ctx, r.Client, &failed)}
	return slices.DeleteFunc(repositories, func(r v1alpha1.Repository) bool {
		return r.Status.InitializedSpec == "" && !use.Allows(r.Namespace)
	}), failed
}

// stays reports whether a Repository is not being deleted.
func stays(r v1alpha1.Repository) bool { return r.DeletionTimestamp.IsZero() }

// users returns the BackupConfigurations that back up into the storage and that it allows, as the cache knows them.
func (r *Reconciler) users(ctx context.Context, storage *v1alpha1.BackupStorage) ([]string, error) {
	var list v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &list, client.UnsafeDisableDeepCopy,
		client.MatchingFields{indexConfigurations: storage.Namespace + "/" + storage.Name}); err != nil {
		return nil, fmt.Errorf("list BackupConfigurations of BackupStorage %s: %w", storage.Name, err)
	}
	var failed error
	use := complete.StorageUse{Storage: storage, Labels: labelsBy(ctx, r.Client, &failed)}
	var out []string
	for i := range list.Items {
		if c := &list.Items[i]; v1alpha1.InForce(c) && use.Allows(c.Namespace) {
			out = append(out, "BackupConfiguration "+c.Namespace+"/"+c.Name)
		}
	}
	slices.Sort(out)
	return out, failed
}

// labelsBy returns a function that reads the labels of namespaces until that fails.
func labelsBy(ctx context.Context, reader client.Reader, failed *error) func(namespace string) map[string]string {
	labels := read.NewNamespaceLabels(reader)
	return func(namespace string) map[string]string {
		if *failed != nil {
			return nil
		}
		of, err := labels.Of(ctx, namespace)
		*failed = err
		return of
	}
}
