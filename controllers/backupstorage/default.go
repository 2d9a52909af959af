package backupstorage

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/defaults"
	"github.com/cairn-backup/cairn/internal/policy"
)

// judgeDefault says of a default storage that an older one of its namespace is the default. It can be used all the same.
func (r *Reconciler) judgeDefault(ctx context.Context, storage *v1alpha1.BackupStorage) error {
	if !storage.Spec.Default {
		conditions.Delete(storage, v1alpha1.ConditionDefaultIgnored)
		return nil
	}
	var list v1alpha1.BackupStorageList
	if err := r.List(ctx, &list, client.InNamespace(storage.Namespace)); err != nil {
		return fmt.Errorf("list the storages of %s: %w", storage.Namespace, err)
	}
	defaults.Judge(storage, v1alpha1.BackupStorageKind, policy.DefaultStorages(list.Items))
	return nil
}

// otherDefaults are the other default storages of a namespace.
func (r *Reconciler) otherDefaults(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1alpha1.BackupStorageList
	if err := r.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if s := &list.Items[i]; s.Spec.Default && s.Name != o.GetName() {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s)})
		}
	}
	return out
}
