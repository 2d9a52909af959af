package keeper

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"

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
	return access.EnsureCredentials(ctx, r.Client, &l.Lease, p.namespace, access.ForMaintenance(storage), passwordOf(w),
		keepers.CopyName(p.name(), index))
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
