package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

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
	// maxParcels limits an outbox, which takes no more records once it has this many ConfigMaps. Most have at most
	// 700 KiB, so they hold some hundred thousand records.
	maxParcels = 96
	// mergeParcels is the number of small parcels that are merged into one: a trickle of records must not use up the
	// limit while the Git server is down.
	mergeParcels = 16
	// smallParcel is the number of records below which a parcel is small, if it has fewer bytes than largeParcel.
	smallParcel = 500
	largeParcel = 200 << 10
	// maxParts and maxCounted are more ConfigMaps and more records than a parcel can have. What claims more of them is
	// not Cairn's.
	maxParts   = 20
	maxCounted = 1 << 20
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
	// unreadable holds why parcels can't be read, by parcel.version: none is read twice.
	unreadable map[string]error

	unwritten map[types.UID]*unwritten // by Ledger, as of the last report
	reported  bool                     // this process has had a report
}

// NewOutbox returns an Outbox that reads through reader. The reader must not be cached.
func NewOutbox(c client.Client, reader client.Reader) *Outbox {
	return &Outbox{
		client: c, reader: reader,
		wake:  make(chan event.TypedGenericEvent[*v1alpha1.Ledger], 1024),
		paths: map[types.UID][]string{}, taken: map[types.UID]bool{}, unreadable: map[string]error{},
	}
}

// list returns the complete parcels of a Ledger, oldest first.
func (o *Outbox) list(ctx context.Context, l *v1alpha1.Ledger) ([]parcel, error) {
	all, err := o.all(ctx, l)
	return slices.DeleteFunc(all, func(p parcel) bool { return p.incomplete }), err
}

// all returns the parcels of a Ledger, oldest first, also the incomplete ones.
func (o *Outbox) all(ctx context.Context, l *v1alpha1.Ledger) ([]parcel, error) {
	var found metav1.PartialObjectMetadataList
	found.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	// Nobody else can give a ConfigMap the label of what Cairn makes: see the admission policy cairn-marks.
	err := o.reader.List(ctx, &found, client.InNamespace(l.Namespace), client.MatchingLabels{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelLedger: policy.LabelValue(l.Name),
	})
	if err != nil {
		return nil, fmt.Errorf("list outbox: %w", err)
	}
	var out []parcel
	parts := map[string]metav1.ObjectMeta{} // by name
	for i := range found.Items {
		m := found.Items[i].ObjectMeta
		switch {
		case m.DeletionTimestamp != nil:
		case m.Annotations[v1alpha1.AnnotationOutboxPart] != "":
			parts[m.Name] = m
		default:
			n, _ := strconv.Atoi(m.Annotations[v1alpha1.AnnotationOutboxRecords])
			out = append(out, parcel{meta: m, records: min(max(n, 0), maxCounted)})
		}
	}
	for i := range out {
		out[i].collect(parts)
	}
	slices.SortFunc(out, func(a, b parcel) int {
		return cmp.Or(a.meta.CreationTimestamp.Compare(b.meta.CreationTimestamp.Time),
			cmp.Compare(a.meta.Name, b.meta.Name))
	})
	return out, nil
}

// collect finds the rest of a parcel. Anybody can make a ConfigMap that says it is a part: only the names that belong
// to the parcel count, and as many as the parcel says it has.
func (p *parcel) collect(parts map[string]metav1.ObjectMeta) {
	n, _ := strconv.Atoi(p.meta.Annotations[v1alpha1.AnnotationOutboxParts])
	for number := 2; number <= min(n, maxParts); number++ {
		part, there := parts[ledger.PartName(p.meta.Name, number)]
		if there && slices.ContainsFunc(part.OwnerReferences, func(o metav1.OwnerReference) bool {
			return o.UID == p.meta.UID
		}) {
			p.rest = append(p.rest, part)
		}
	}
	p.incomplete = len(p.rest) < n-1
}

// load reads the records of a parcel. A deleted parcel has no records; changed content is an error.
func (o *Outbox) load(ctx context.Context, p parcel) ([]ledger.Record, error) {
	var files []ledger.Record
	err := o.each(ctx, p, func(r ledger.Record) error {
		some, err := r.Files()
		if err != nil {
			return fmt.Errorf("%w: %w", ledger.ErrParcel, err)
		}
		files = append(files, some...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return files, nil
}

// each calls do with each record of a parcel. It remembers a parcel that does not hold what Cairn wrote, so that it is
// read once.
func (o *Outbox) each(ctx context.Context, p parcel, do func(ledger.Record) error) error {
	version := p.version()
	o.mu.Lock()
	known := o.unreadable[version]
	o.mu.Unlock()
	if known != nil {
		return known
	}
	data, err := o.read(ctx, p)
	if err != nil || data == nil {
		return err
	}
	var failed error
	err = ledger.Each(data, func(r ledger.Record) {
		if failed == nil {
			failed = do(r)
		}
	})
	if err = cmp.Or(err, failed); errors.Is(err, ledger.ErrParcel) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.unreadable[version] = err
	}
	return err
}

// read returns the data of a parcel, nil if it was deleted.
func (o *Outbox) read(ctx context.Context, p parcel) ([]byte, error) {
	data := []byte{}
	for number := 1; number <= 1+len(p.rest); number++ {
		var cm corev1.ConfigMap
		key := types.NamespacedName{Namespace: p.meta.Namespace, Name: ledger.PartName(p.meta.Name, number)}
		if err := o.reader.Get(ctx, key, &cm); err != nil {
			switch {
			case number == 1 && absent(err):
				return nil, nil
			case apierrors.IsNotFound(err): // not with this reason: it would say that the namespace is gone
				return nil, fmt.Errorf("%w: ConfigMap %s is missing", ledger.ErrParcel, key.Name)
			}
			return nil, fmt.Errorf("read outbox: %w", err)
		}
		data = append(data, cm.BinaryData[ledger.ParcelKey]...)
	}
	return data, nil
}

// add writes the records that are not in the outbox yet. It returns errFull if the outbox has no room.
func (o *Outbox) add(ctx context.Context, l *v1alpha1.Ledger, records []ledger.Record) error {
	all, err := o.all(ctx, l)
	if err != nil {
		return err
	}
	parcels := slices.DeleteFunc(slices.Clone(all), func(p parcel) bool { return p.incomplete })
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
	if size(all)-size(merged) >= maxParcels {
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
		// Parcels that can't be merged with others come out as they were: they must stay.
		merged = slices.DeleteFunc(merged, func(m parcel) bool { return m.meta.Name == p.Name })
	}
	if err := o.stillThere(ctx, l, packed); err != nil {
		return err
	}
	if err := o.remove(ctx, merged); err != nil {
		return err
	}
	o.notify(l)
	return nil
}

// stillThere fails if the Ledger goes, or is another one, and takes the parcels back. A Ledger that goes looks for
// parcels once more before its finalizer goes: it finds those that were written before it began to go.
func (o *Outbox) stillThere(ctx context.Context, l *v1alpha1.Ledger, packed []ledger.Parcel) error {
	var now v1alpha1.Ledger
	err := o.reader.Get(ctx, client.ObjectKeyFromObject(l), &now)
	switch {
	case err != nil && !absent(err):
		return fmt.Errorf("get Ledger: %w", err)
	case err == nil && now.UID == l.UID && now.DeletionTimestamp == nil:
		return nil
	}
	all, err := o.all(ctx, l)
	if err != nil {
		return err
	}
	ours := slices.DeleteFunc(all, func(p parcel) bool {
		return !slices.ContainsFunc(packed, func(of ledger.Parcel) bool { return of.Name == p.meta.Name })
	})
	if err := o.remove(ctx, ours); err != nil {
		return err
	}
	return errors.New("the Ledger is being deleted: its outbox takes no more records")
}

// unwrittenAfter is how long records can't be written into an outbox before its Ledger says so: a restart of the API
// server or of a webhook is over by then.
const unwrittenAfter = 2 * time.Minute

// unwritten is what can't be written into the outbox of a Ledger. It gets lost with the process, and the next one finds
// it again: the objects keep their finalizer.
type unwritten struct {
	ledger  *v1alpha1.Ledger
	records int
	oldest  time.Time // when the first of them ended
	since   time.Time // since when this process can't write something
	err     error     // why, at the last try
	long    bool      // for longer than unwrittenAfter
}

// report notes all that could not be written, by Ledger. It wakes the Reconciler of each Ledger that has to say so, or
// not any more.
func (o *Outbox) report(found map[types.UID]*unwritten, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for uid, u := range found {
		u.since = now
		was := o.unwritten[uid]
		if was != nil && was.since.Before(now) {
			u.since = was.since
		}
		u.long = now.Sub(u.since) >= unwrittenAfter
		if u.long && (was == nil || !was.long) {
			o.notify(u.ledger)
		}
	}
	for uid, was := range o.unwritten {
		if found[uid] == nil {
			o.notify(was.ledger)
		}
	}
	o.unwritten, o.reported = found, true
}

// unwrittenOf returns what can't be written for a Ledger, nil if there is nothing. Before the first report, nobody
// knows.
func (o *Outbox) unwrittenOf(l *v1alpha1.Ledger) (u *unwritten, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unwritten[l.UID], o.reported
}

// unwrittenSince returns since when this process can't write something for a Ledger.
func (o *Outbox) unwrittenSince(l *v1alpha1.Ledger, now time.Time) time.Time {
	if u, _ := o.unwrittenOf(l); u != nil && u.since.Before(now) {
		return u.since
	}
	return now
}

// notify wakes the Reconciler of the Ledger. Nothing is lost if the Reconciler misses it: it also looks at its
// interval.
func (o *Outbox) notify(l *v1alpha1.Ledger) {
	select {
	case o.wake <- event.TypedGenericEvent[*v1alpha1.Ledger]{Object: l}:
	default:
	}
}
