package backupstorage

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/runtime/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// judgeDefault marks a default storage that is no default for somebody who could expect it. The storage can be used
// anyway.
func (r *Reconciler) judgeDefault(ctx context.Context, storage *v1alpha1.BackupStorage) error {
	if !storage.Spec.Default {
		conditions.Delete(storage, v1alpha1.ConditionDefaultIgnored)
		return nil
	}
	var list v1alpha1.BackupStorageList
	if err := r.List(ctx, &list, client.InNamespace(storage.Namespace)); err != nil {
		return fmt.Errorf("list BackupStorages of Namespace %s: %w", storage.Namespace, err)
	}
	defaults.MarkIgnoredDefault(storage, v1alpha1.BackupStorageKind, complete.DefaultStorages(list.Items),
		r.Administrators)
	return nil
}

// otherDefaults returns requests for the other default storages of a namespace.
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
