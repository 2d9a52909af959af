package backupstorage

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// listed is the number of Repositories that the status shows.
const listed = 1000

// count summarizes the storage's Repositories in its status. It returns since when an init Job blames the storage for
// one that it could use before, the last one if there are several, or the zero time.
func (r *Reconciler) count(ctx context.Context, storage *v1alpha1.BackupStorage) (blamedAt time.Time, _ error) {
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
		if at := blamed(repository); at.After(blamedAt) {
			blamedAt = at
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
	return blamedAt, nil
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
