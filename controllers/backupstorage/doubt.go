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
)

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

// maxDirectories is how many directories an init Job gets to know.
const maxDirectories = 64

// mustExist reports whether a storage was initialised before in the place that it names now, and the directories of
// some of its Repositories there, first of those that are ready: one of them proves that it is the right storage. Where
// there are too many, they lie evenly among the names. The storage itself knows only the last place: where it was
// changed and is changed back, its Repositories tell. A Repository that was never initialised keeps nothing anywhere.
func (r *Reconciler) mustExist(ctx context.Context, storage *v1alpha1.BackupStorage) (bool, []string, error) {
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
	must := storage.Status.InitializedPlace == placeDigest(storage) || len(ready)+len(rest) > 0
	ready = spread(ready, maxDirectories)
	return must, append(ready, spread(rest, maxDirectories-len(ready))...), nil
}

// spread returns at most n of all, evenly.
func spread(all []string, n int) []string {
	if len(all) <= n {
		return all
	}
	out := make([]string, n)
	for i := range out {
		out[i] = all[i*len(all)/n]
	}
	return out
}
