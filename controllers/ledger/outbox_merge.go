package ledger

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// take reads the records of a parcel for a push. From then on the parcel is not merged: its records would be pushed and
// counted twice, the second time with the merged parcel.
func (o *Outbox) take(ctx context.Context, p parcel) ([]ledger.Record, error) {
	o.turn.Lock()
	defer o.turn.Unlock()
	records, err := o.load(ctx, p)
	if err != nil {
		return nil, err
	}
	o.remember(p.meta.UID, records)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken[p.meta.UID] = true
	return records, nil
}

// holdsAny reports whether a parcel that was taken holds one of the files.
func (o *Outbox) holdsAny(p parcel, files map[string]error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.paths[p.meta.UID], func(path string) bool { return files[path] != nil })
}

// putBack returns parcels that a push did not bring into the branch.
func (o *Outbox) putBack(parcels []parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range parcels {
		delete(o.taken, p.meta.UID)
	}
}

// known returns the paths of all records in the parcels. It reads a parcel once: its content never changes.
func (o *Outbox) known(ctx context.Context, parcels []parcel) (map[string]bool, error) {
	out := map[string]bool{}
	for _, p := range parcels {
		o.mu.Lock()
		paths, ok := o.paths[p.meta.UID]
		o.mu.Unlock()
		if !ok {
			records, err := o.load(ctx, p)
			if err != nil && !errors.Is(err, ledger.ErrParcel) {
				return nil, err
			}
			paths = o.remember(p.meta.UID, records)
		}
		for _, path := range paths {
			out[path] = true
		}
	}
	return out, nil
}

func (o *Outbox) remember(uid types.UID, records []ledger.Record) []string {
	paths := make([]string, len(records))
	for i, r := range records {
		paths[i] = r.Path
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paths[uid] = paths
	return paths
}

// merge adds the records of small parcels to the new records if there are many small parcels. The caller removes the
// small parcels after it wrote the new ones: in between, a record exists twice, and the push drops the copy. Parcels
// that were counted in status keep their names, because the status identifies them by name.
func (o *Outbox) merge(
	ctx context.Context, l *v1alpha1.Ledger, parcels []parcel, records []ledger.Record,
) ([]parcel, []ledger.Record, error) {
	o.mu.Lock()
	small := slices.DeleteFunc(slices.Clone(parcels), func(p parcel) bool {
		bytes, _ := strconv.Atoi(p.meta.Annotations[v1alpha1.AnnotationOutboxBytes])
		return p.records >= smallParcel || bytes >= largeParcel || o.taken[p.meta.UID] ||
			slices.Contains(l.Status.Counted, p.meta.Name)
	})
	o.mu.Unlock()
	if len(small) < mergeParcels {
		return nil, records, nil
	}
	var merged []parcel
	for _, p := range small {
		more, err := o.load(ctx, p)
		if errors.Is(err, ledger.ErrParcel) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		records, merged = append(records, more...), append(merged, p)
	}
	return merged, records, nil
}
