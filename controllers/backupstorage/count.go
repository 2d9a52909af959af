package backupstorage

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task"
)

// listed is the number of Repositories that the status shows.
const listed = 1000

// count summarizes the storage's Repositories in its status. It returns when the storage last refused the credential of
// one that it refuses still, or the zero time.
func (r *Reconciler) count(ctx context.Context, storage *v1alpha1.BackupStorage) (refusedAt time.Time, _ error) {
	repositories, err := r.repositories(ctx, storage)
	if err != nil {
		return time.Time{}, err
	}
	var total int64
	var known bool
	var out []v1alpha1.StorageRepository
	for i := range repositories {
		repository := &repositories[i]
		if bytes := repository.Status.StoredBytes; bytes != nil {
			total, known = total+*bytes, true
		}
		if at := refused(repository); at.After(refusedAt) {
			refusedAt = at
		}
		if len(out) == listed {
			continue
		}
		entry := v1alpha1.StorageRepository{
			Name: repository.Name, Namespace: repository.Namespace, Path: repository.Spec.Path,
			Size:   repository.Status.Size,
			Synced: new(conditions.IsTrue(repository, v1alpha1.ConditionRepositoryInitialized)),
		}
		if conditions.IsFalse(repository, meta.ReadyCondition) {
			entry.Error = new(short(conditions.GetMessage(repository, meta.ReadyCondition)))
		}
		out = append(out, entry)
	}
	storage.Status.Repositories, storage.Status.TotalSize = out, ""
	if known {
		storage.Status.TotalSize = task.FormatSize(total)
	}
	return refusedAt, nil
}

// refused returns since when an init Job says that the storage refuses a Repository's credential, or the zero time.
func refused(repository *v1alpha1.Repository) time.Time {
	ready := conditions.Get(repository, meta.ReadyCondition)
	if ready == nil || !initjob.RefusesCredential(ready.Reason) {
		return time.Time{}
	}
	return ready.LastTransitionTime.Time
}

// doubted reports whether a Repository was refused since the backend was proved: then it is proved again. That happens
// at most once in each credentialInterval, and again is when to look once more: a Repository can lack a right that the
// storage itself has.
func (r *Reconciler) doubted(storage *v1alpha1.BackupStorage, refusedAt time.Time) (doubted bool, again time.Duration) {
	proved := conditions.Get(storage, v1alpha1.ConditionBackendInitialized)
	if proved == nil || proved.Status != metav1.ConditionTrue || !refusedAt.After(proved.LastTransitionTime.Time) {
		return false, 0
	}
	again = run.Left(proved.LastTransitionTime.Add(credentialInterval), credentialInterval, r.Clock.Now())
	return again == 0, again
}

// short cuts a message to its limit, at the end of a character.
func short(message string) string {
	const limit = 256
	runes := []rune(message)
	if len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return message
}
