package backupstorage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// maxRivals is how many rivals an init Job gets to know: the oldest.
const maxRivals = 64

// rivals returns the other storages that have proved their access to the place that this one names, oldest first. Only
// the metadata.yaml in the backend tells which of them has it, and only the storage's own Job can read it: a short host
// name, a proxy or a certificate authority of its own leads each namespace to another server. A storage that has proved
// nothing blocks nobody, because anybody can name any bucket.
func (r *Reconciler) rivals(
	ctx context.Context, storage *v1alpha1.BackupStorage,
) (out []v1alpha1.BackupStorage, _ error) {
	var list v1alpha1.BackupStorageList
	if err := r.List(ctx, &list, client.MatchingFields{indexPlace: placeOf(storage)}); err != nil {
		return nil, fmt.Errorf("list BackupStorages in the same place: %w", err)
	}
	for _, other := range list.Items {
		if other.UID != storage.UID && v1alpha1.InForce(&other) && provedPlace(&other) {
			out = append(out, other)
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.BackupStorage) int {
		if policy.Older(&a, &b) {
			return -1
		}
		return 1
	})
	return out[:min(len(out), maxRivals)], nil
}

// provedPlace reports whether an init Job of a storage has seen or written metadata.yaml where the storage is now. An
// earlier version has not noted the place.
func provedPlace(s *v1alpha1.BackupStorage) bool {
	return s.Status.InitializedPlace == placeDigest(s) ||
		s.Status.InitializedPlace == "" && s.Status.InitializedSpec != ""
}

// provedAt returns when the last of the rivals proved its place, or the zero time. The API server's times have whole
// seconds: two storages that prove one place in the same second doubt each other.
func provedAt(rivals []v1alpha1.BackupStorage) (last time.Time) {
	for i := range rivals {
		proved := conditions.Get(&rivals[i], v1alpha1.ConditionBackendInitialized)
		if proved != nil && proved.Status == metav1.ConditionTrue {
			last = laterOf(last, proved.LastTransitionTime.Add(time.Second))
		}
	}
	return last
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func uidsOf(storages []v1alpha1.BackupStorage) []types.UID {
	out := make([]types.UID, len(storages))
	for i := range storages {
		out[i] = storages[i].UID
	}
	return out
}
