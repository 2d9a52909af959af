package snapshot

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/retention"
)

// kindStaysFor is how long the answer that a kind stays holds for the objects that it is about.
const kindStaysFor = 5 * time.Second

// kindStays remembers for a moment that a kind stays, so that the removal of many objects does not ask for each. The
// API server begins to delete the kind before any object goes with it. So the answer holds only for objects that were
// being deleted before the question: for these it proves that the kind does not take them along. The zero value is
// ready for use, and safe for concurrent use.
type kindStays struct {
	mu    sync.Mutex
	asked time.Time
	of    sets.Set[types.UID]
}

// goes reports whether the kind of a deleted object goes. If it has to ask, it first calls deleted for all objects that
// are being deleted.
func (k *kindStays) goes(
	now time.Time, object types.UID, deleted func() ([]types.UID, error), ask func() (bool, error),
) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of.Has(object) && !now.Before(k.asked) && now.Sub(k.asked) < kindStaysFor {
		return false, nil
	}
	k.of = nil
	all, err := deleted()
	if err != nil {
		return false, err
	}
	goes, err := ask()
	if err == nil && !goes {
		k.asked, k.of = now, sets.New(all...).Insert(object)
	}
	return goes, err
}

// whyKept is read.WhyKept for a Snapshot that is being deleted.
func (r *Reconciler) whyKept(ctx context.Context, s *v1alpha1.Snapshot) (retention.Kept, error) {
	return read.WhyKeptBy(ctx, r.APIReader, s, func(ctx context.Context) (bool, error) {
		return r.kind.goes(r.Clock.Now(), s.UID, func() ([]types.UID, error) { return r.deleted(ctx) },
			func() (bool, error) { return read.KindGoes(ctx, r.APIReader, s) })
	})
}

// deleted returns the Snapshots of all namespaces that the cache knows to be being deleted.
func (r *Reconciler) deleted(ctx context.Context) ([]types.UID, error) {
	var list v1alpha1.SnapshotList
	if err := r.List(ctx, &list, client.MatchingFields{indexRepository: anyRepository},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the Snapshots that are being deleted: %w", err)
	}
	out := make([]types.UID, len(list.Items))
	for i := range list.Items {
		out[i] = list.Items[i].UID
	}
	return out, nil
}
