package backupstorage

import (
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// indexPlace finds the storages that keep their data in one place.
const indexPlace = "backupstorage.place"

// SetupWithManager registers the controller, its index and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.BackupStorage{}, indexPlace, func(o client.Object) []string {
		return []string{placeOf(o.(*v1alpha1.BackupStorage))}
	})
	if err != nil {
		return fmt.Errorf("index BackupStorages by place: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("backupstorage").
		For(&v1alpha1.BackupStorage{}).
		Owns(&batchv1.Job{}).
		Watches(&v1alpha1.BackupStorage{}, handler.EnqueueRequestsFromMapFunc(r.neighbours)).
		WithOptions(opts).
		Complete(r)
}

// neighbours are the other storages in the same place: who is the oldest may have changed.
func (r *Reconciler) neighbours(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1alpha1.BackupStorageList
	if err := r.List(ctx, &list, client.MatchingFields{indexPlace: placeOf(o.(*v1alpha1.BackupStorage))}); err != nil {
		return nil
	}
	var out []reconcile.Request
	for _, s := range list.Items {
		if key := client.ObjectKeyFromObject(&s); key != client.ObjectKeyFromObject(o) {
			out = append(out, reconcile.Request{NamespacedName: key})
		}
	}
	return out
}

// placeOf identifies where a storage keeps its data. The region takes no part: it does not tell two buckets apart.
func placeOf(s *v1alpha1.BackupStorage) string {
	spec := s.Spec.Storage
	switch {
	case spec.S3 != nil:
		return strings.Join([]string{"s3", strings.ToLower(strings.TrimRight(spec.S3.Endpoint, "/")), spec.S3.Bucket, policy.NormalizeDirectory(spec.S3.Prefix)}, "|")
	case spec.Local != nil:
		return strings.Join([]string{"local", s.Namespace, spec.Local.PersistentVolumeClaim.ClaimName, policy.NormalizeDirectory(spec.Local.SubPath)}, "|")
	}
	return "none|" + s.Namespace + "/" + s.Name
}
