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

// stays reports whether a Repository is not being deleted.
func stays(r v1alpha1.Repository) bool { return r.DeletionTimestamp.IsZero() }

// users returns the BackupConfigurations that back up into the storage.
func (r *Reconciler) users(ctx context.Context, storage *v1alpha1.BackupStorage) ([]string, error) {
	var list v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &list,
		client.MatchingFields{indexConfigurations: storage.Namespace + "/" + storage.Name}); err != nil {
		return nil, fmt.Errorf("list BackupConfigurations of BackupStorage %s: %w", storage.Name, err)
	}
	var out []string
	for i := range list.Items {
		if c := &list.Items[i]; v1alpha1.InForce(c) {
			out = append(out, "BackupConfiguration "+c.Namespace+"/"+c.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// usersNow returns the policies that use the storage or would get it as their default, as the API server knows them. It
// is the last look before data can go: policy can have been made a moment ago, and one that names no storage is in no
// index.
func (r *Reconciler) usersNow(ctx context.Context, storage *v1alpha1.BackupStorage) ([]string, error) {
	var configurations v1alpha1.BackupConfigurationList
	var batches v1alpha1.BackupBatchList
	var repositories v1alpha1.RepositoryList
	var storages v1alpha1.BackupStorageList
	for _, list := range []client.ObjectList{&configurations, &batches, &repositories, &storages} {
		if err := r.APIReader.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list what can use BackupStorage %s: %w", storage.Name, err)
		}
	}
	known := map[client.ObjectKey]*v1alpha1.Repository{}
	for i := range repositories.Items {
		if o := &repositories.Items[i]; !v1alpha1.HasRecordAnnotation(o.Annotations) {
			known[client.ObjectKeyFromObject(o)] = o
		}
	}
	labels := read.NewNamespaceLabels(r.APIReader)
	var failed error
	use := complete.StorageUse{
		Storage: storage, Storages: storages.Items,
		Repository: func(namespace, name string) *v1alpha1.Repository {
			return known[client.ObjectKey{Namespace: namespace, Name: name}]
		},
		Labels: func(namespace string) map[string]string {
			if failed != nil {
				return nil
			}
			var of map[string]string
			of, failed = labels.Of(ctx, namespace)
			return of
		},
	}
	var out []string
	for i := range configurations.Items {
		if c := &configurations.Items[i]; v1alpha1.InForce(c) && use.ByConfiguration(c) {
			out = append(out, "BackupConfiguration "+c.Namespace+"/"+c.Name)
		}
	}
	for i := range batches.Items {
		if b := &batches.Items[i]; v1alpha1.InForce(b) && use.ByBatch(b) {
			out = append(out, "BackupBatch "+b.Namespace+"/"+b.Name)
		}
	}
	slices.Sort(out)
	return out, failed
}
