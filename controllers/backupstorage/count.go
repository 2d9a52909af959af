package backupstorage

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
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

// blamed returns since when an init Job of a Repository says that the storage can't be used as it is, or the zero time.
func blamed(repository *v1alpha1.Repository) time.Time {
	ready := conditions.Get(repository, meta.ReadyCondition)
	if ready == nil || !initjob.BlamesStorage(ready.Reason) {
		return time.Time{}
	}
	return ready.LastTransitionTime.Time
}

// doubted reports whether the storage was blamed since the backend was proved: then it is proved again. That happens at
// most once in each credentialInterval, and again is when to look once more: a Repository can lack a right that the
// storage itself has.
func (r *Reconciler) doubted(storage *v1alpha1.BackupStorage, blamedAt time.Time) (doubted bool, again time.Duration) {
	proved := conditions.Get(storage, v1alpha1.ConditionBackendInitialized)
	if proved == nil || proved.Status != metav1.ConditionTrue || !blamedAt.After(proved.LastTransitionTime.Time) {
		return false, 0
	}
	again = run.Left(proved.LastTransitionTime.Add(credentialInterval), credentialInterval, r.Clock.Now())
	return again == 0, again
}

// told is how many directories an init Job gets to know.
const told = 64

// mustExist reports whether a storage was initialised before in the place that it names now, and the directories of
// some of its Repositories there, first of those that are ready: one of them proves that it is the right storage.
func (r *Reconciler) mustExist(ctx context.Context, storage *v1alpha1.BackupStorage) (bool, []string, error) {
	if storage.Status.InitializedPlace != placeDigest(storage) {
		return false, nil, nil
	}
	repositories, err := r.repositories(ctx, storage)
	if err != nil {
		return false, nil, err
	}
	var ready, rest []string
	for i := range repositories {
		switch o := &repositories[i]; {
		case !policy.KeepsIn(o, storage):
		case conditions.IsTrue(o, meta.ReadyCondition):
			ready = append(ready, policy.NormalizeDirectory(o.Spec.Path))
		default:
			rest = append(rest, policy.NormalizeDirectory(o.Spec.Path))
		}
	}
	all := append(ready, rest...)
	return true, all[:min(len(all), told)], nil
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
