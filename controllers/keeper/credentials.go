package keeper

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/keepers"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// credentials copies the Secrets for one Repository: the credentials that are allowed to remove data, and the password
// if it is needed.
func (r *Reconciler) credentials(
	ctx context.Context, p place, storage *v1alpha1.BackupStorage, l *lease, w *keeper.Work, index int,
) (moverjob.Credentials, error) {
	if err := access.AllowedRepository(ctx, r.Client, storage, r.ClusterName, w.Repository); err != nil {
		return moverjob.Credentials{}, err
	}
	return access.EnsureCredentials(ctx, r.Client, &l.Lease, p.namespace, access.ForMaintenance(storage, p.namespace),
		passwordOf(w), keepers.CopyName(p.name(), index))
}

// explained returns the message of work that a keeper could not do, with what to do if the backend refused a
// credential because the storage keeps a better one to itself.
func (r *Reconciler) explained(ctx context.Context, p place, t *task.Task, f keeper.Undone) (string, error) {
	if f.Reason != v1alpha1.ReasonAccessDenied {
		return f.Message, nil
	}
	storage := &v1alpha1.BackupStorage{}
	key := client.ObjectKey{Namespace: t.Storage.Namespace, Name: t.Storage.Name}
	if err := r.Get(ctx, key, storage); err != nil {
		return f.Message, client.IgnoreNotFound(err)
	}
	if !access.KeepsMaintenance(storage, p.namespace) {
		return f.Message, nil
	}
	return fmt.Sprintf("%s: BackupStorage %s keeps its maintenanceSecretName to its own namespace: give the "+
		"credential of backups the right to delete, or set usagePolicy.shareMaintenanceSecret there",
		f.Message, key), nil
}

// passwordOf names the Secret with the password that the work needs. Wiping a directory needs no password.
func passwordOf(w *keeper.Work) v1alpha1.ObjectReference {
	if w.Wipe {
		return v1alpha1.ObjectReference{}
	}
	return w.Repository.Spec.EncryptionSecret
}

// taskOf returns the task of a Job.
func taskOf(job *batchv1.Job) (task.Task, error) {
	return task.Decode([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationTask]), task.KindKeep)
}
