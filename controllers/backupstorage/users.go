package backupstorage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
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
