package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
)

const (
	// maxParcels bounds an outbox: so many ConfigMaps of at most 700 KiB, some hundred thousand records.
	maxParcels = 96
	// mergeParcels is the number of small parcels that are made into one: a trickle of records while the server is away must
	// not use up the bound.
	mergeParcels = 16
	// smallParcel is the number of records below which a parcel is small.
	smallParcel = 500
)

// errFull says that an outbox is at its bound.
var errFull = errors.New("outbox is full")

// Outbox is the way of both controllers to the ConfigMaps of the Ledgers. It is safe for concurrent use.
type Outbox struct {
	client client.Client
	reader client.Reader
	wake   chan event.TypedGenericEvent[*v1alpha1.Ledger]

	mu    sync.Mutex
	paths map[types.UID][]string // of the parcels that were read or written, by ConfigMap
}

// NewOutbox reads through reader, which must not be cached.
func NewOutbox(c client.Client, reader client.Reader) *Outbox {
	return &Outbox{
		client: c, reader: reader,
		wake:  make(chan event.TypedGenericEvent[*v1alpha1.Ledger], 1024),
		paths: map[types.UID][]string{},
	}
}

// parcel is a ConfigMap of an outbox, without its content.
type parcel struct {
	meta    metav1.ObjectMeta
	records int
}

// list returns the parcels of a Ledger, oldest first.
func (o *Outbox) list(ctx context.Context, l *v1alpha1.Ledger) ([]parcel, error) {
	var found metav1.PartialObjectMetadataList
	found.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	err := o.reader.List(ctx, &found, client.InNamespace(l.Namespace),
		client.MatchingLabels{v1alpha1.LabelLedger: policy.LabelValue(l.Name)})
	if err != nil {
		return nil, fmt.Errorf("list the outbox: %w", err)
	}
	var out []parcel
	for i := range found.Items {
		m := found.Items[i].ObjectMeta
		if !metav1.IsControlledBy(&found.Items[i], l) || m.DeletionTimestamp != nil {
			continue
		}
		n, _ := strconv.Atoi(m.Annotations[v1alpha1.AnnotationOutboxRecords])
		out = append(out, parcel{m, n})
	}
	slices.SortFunc(out, func(a, b parcel) int {
		return cmp.Or(a.meta.CreationTimestamp.Compare(b.meta.CreationTimestamp.Time), cmp.Compare(a.meta.Name, b.meta.Name))
	})
	return out, nil
}

// load reads the records of a parcel. One that is gone, or that somebody has put something else into, has none.
func (o *Outbox) load(ctx context.Context, p parcel) ([]ledger.Record, error) {
	var cm corev1.ConfigMap
	if err := o.reader.Get(ctx, types.NamespacedName{Namespace: p.meta.Namespace, Name: p.meta.Name}, &cm); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return ledger.Unpack(cm.BinaryData[ledger.ParcelKey])
}

// add writes the records that are not in the outbox yet. It is errFull when there is no room.
func (o *Outbox) add(ctx context.Context, l *v1alpha1.Ledger, records []ledger.Record) error {
	parcels, err := o.list(ctx, l)
	if err != nil {
		return err
	}
	there, err := o.known(ctx, parcels)
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(slices.Clone(records), func(r ledger.Record) bool { return there[r.Path] })
	if len(records) == 0 {
		return nil
	}
	merged, records, err := o.merge(ctx, l, parcels, records)
	if err != nil {
		return err
	}
	if len(parcels)-len(merged) >= maxParcels {
		return errFull
	}
	packed, err := ledger.Pack(l.Name, records)
	if err != nil {
		return err
	}
	for _, p := range packed {
		if err := o.create(ctx, l, p); err != nil {
			return err
		}
	}
	if err := o.remove(ctx, merged); err != nil {
		return err
	}
	o.notify(l)
	return nil
}

// known are the paths of all records in the parcels. A parcel is read once: its content never changes.
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

// merge adds the records of small parcels to the new ones when there are many of them. The small ones are to be removed
// after the new ones were written: in between, a record is there twice, which the push notices. Those that are pushed and about
// to go keep their names, by which they are known.
func (o *Outbox) merge(ctx context.Context, l *v1alpha1.Ledger, parcels []parcel, records []ledger.Record) ([]parcel, []ledger.Record, error) {
	small := slices.DeleteFunc(slices.Clone(parcels), func(p parcel) bool {
		return p.records >= smallParcel || slices.Contains(l.Status.Counted, p.meta.Name)
	})
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

func (o *Outbox) create(ctx context.Context, l *v1alpha1.Ledger, p ledger.Parcel) error {
	immutable := true
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Namespace: l.Namespace,
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelLedger: policy.LabelValue(l.Name),
			},
			Annotations: map[string]string{v1alpha1.AnnotationOutboxRecords: strconv.Itoa(p.Records)},
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(l, v1alpha1.GroupVersion.WithKind(v1alpha1.LedgerKind)),
			},
		},
		Immutable:  &immutable,
		BinaryData: map[string][]byte{ledger.ParcelKey: p.Data},
	}
	err := o.client.Create(ctx, cm)
	if apierrors.IsAlreadyExists(err) {
		var there corev1.ConfigMap
		if err := o.reader.Get(ctx, client.ObjectKeyFromObject(cm), &there); err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		if metav1.IsControlledBy(&there, l) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("write the outbox: %w", err)
	}
	return nil
}

// remove deletes parcels. One that is gone is no error, and one of the same name but another UID stays.
func (o *Outbox) remove(ctx context.Context, parcels []parcel) error {
	for _, p := range parcels {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: p.meta.Name, Namespace: p.meta.Namespace}}
		err := o.client.Delete(ctx, cm, client.Preconditions{UID: &p.meta.UID})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("empty the outbox: %w", err)
		}
		o.mu.Lock()
		delete(o.paths, p.meta.UID)
		o.mu.Unlock()
	}
	return nil
}

// notify wakes the Reconciler of the Ledger. Nothing is lost if it is not listening: it looks on its own after a while.
func (o *Outbox) notify(l *v1alpha1.Ledger) {
	select {
	case o.wake <- event.TypedGenericEvent[*v1alpha1.Ledger]{Object: l}:
	default:
	}
}
