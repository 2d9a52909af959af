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
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
)

const (
	// maxParcels limits an outbox, which takes no more records once it has this many ConfigMaps. Most have at most
	// 700 KiB, so they hold some hundred thousand records.
	maxParcels = 96
	// mergeParcels is the number of small parcels that are merged into one: a trickle of records must not use up the
	// limit while the Git server is down.
	mergeParcels = 16
	// smallParcel is the number of records below which a parcel is small.
	smallParcel = 500
)

// errFull means that an outbox has reached maxParcels.
var errFull = errors.New("the outbox is full")

// Outbox gives both controllers access to the ConfigMaps of the Ledgers. It is safe for concurrent use.
type Outbox struct {
	client client.Client
	reader client.Reader
	wake   chan event.TypedGenericEvent[*v1alpha1.Ledger]

	// turn is held while parcels are merged, and while a parcel is taken for a push.
	turn sync.Mutex

	mu    sync.Mutex
	paths map[types.UID][]string // of the parcels that were read or written, by ConfigMap
	taken map[types.UID]bool     // parcels of a running push, until they are removed or put back
}

// NewOutbox returns an Outbox that reads through reader. The reader must not be cached.
func NewOutbox(c client.Client, reader client.Reader) *Outbox {
	return &Outbox{
		client: c, reader: reader,
		wake:  make(chan event.TypedGenericEvent[*v1alpha1.Ledger], 1024),
		paths: map[types.UID][]string{}, taken: map[types.UID]bool{},
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
		return nil, fmt.Errorf("list outbox: %w", err)
	}
	var out []parcel
	for i := range found.Items {
		m := found.Items[i].ObjectMeta
		if m.DeletionTimestamp != nil {
			continue
		}
		n, _ := strconv.Atoi(m.Annotations[v1alpha1.AnnotationOutboxRecords])
		out = append(out, parcel{m, n})
	}
	slices.SortFunc(out, func(a, b parcel) int {
		return cmp.Or(a.meta.CreationTimestamp.Compare(b.meta.CreationTimestamp.Time),
			cmp.Compare(a.meta.Name, b.meta.Name))
	})
	return out, nil
}

// load reads the records of a parcel. A deleted parcel has no records; changed content is an error.
func (o *Outbox) load(ctx context.Context, p parcel) ([]ledger.Record, error) {
	var cm corev1.ConfigMap
	if err := o.reader.Get(ctx, types.NamespacedName{Namespace: p.meta.Namespace, Name: p.meta.Name}, &cm); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return ledger.Unpack(cm.BinaryData[ledger.ParcelKey])
}

// add writes the records that are not in the outbox yet. It returns errFull if the outbox has no room.
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
	o.turn.Lock()
	defer o.turn.Unlock()
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

func (o *Outbox) create(ctx context.Context, l *v1alpha1.Ledger, p ledger.Parcel) error {
	immutable := true
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Namespace: l.Namespace,
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelLedger: policy.LabelValue(l.Name),
			},
			Annotations: map[string]string{v1alpha1.AnnotationOutboxRecords: strconv.Itoa(p.Records)},
			// No owner: a foreground deletion would delete the outbox before the Ledger has pushed it.
		},
		Immutable:  &immutable,
		BinaryData: map[string][]byte{ledger.ParcelKey: p.Data},
	}
	ctx = logf.IntoContext(ctx, logf.FromContext(ctx).WithValues("ledger", klog.KObj(l)))
	err := o.client.Create(ctx, cm)
	if apierrors.IsAlreadyExists(err) {
		var there corev1.ConfigMap
		get := o.reader.Get(ctx, client.ObjectKeyFromObject(cm), &there)
		switch {
		case apierrors.IsNotFound(get), get == nil && there.DeletionTimestamp != nil:
			// most likely it was pushed: look again
			return fmt.Errorf("write outbox: ConfigMap %s is being removed", cm.Name)
		case get != nil:
			return fmt.Errorf("read outbox: %w", get)
		case there.Labels[v1alpha1.LabelLedger] == cm.Labels[v1alpha1.LabelLedger]:
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("write outbox: %w", err)
	}
	return nil
}

// remove deletes parcels. A deleted parcel is no error, and a parcel of the same name but another UID stays.
func (o *Outbox) remove(ctx context.Context, parcels []parcel) error {
	for _, p := range parcels {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: p.meta.Name, Namespace: p.meta.Namespace}}
		err := o.client.Delete(ctx, cm, client.Preconditions{UID: &p.meta.UID})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete parcel of outbox: %w", err)
		}
		o.mu.Lock()
		delete(o.paths, p.meta.UID)
		delete(o.taken, p.meta.UID)
		o.mu.Unlock()
	}
	return nil
}

// notify wakes the Reconciler of the Ledger. Nothing is lost if the Reconciler misses it: it also looks at its
// interval.
func (o *Outbox) notify(l *v1alpha1.Ledger) {
	select {
	case o.wake <- event.TypedGenericEvent[*v1alpha1.Ledger]{Object: l}:
	default:
	}
}
