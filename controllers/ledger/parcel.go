package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
)

// parcel is a ConfigMap of an outbox, without its content, and those that hold the rest of its content.
type parcel struct {
	meta    metav1.ObjectMeta
	records int
	rest    []metav1.ObjectMeta
	// incomplete reports that a part is missing: its writer was killed, or has not written it yet.
	incomplete bool
}

// version identifies the content of the parcel: anybody who can change ConfigMaps can change it.
func (p parcel) version() string {
	out := string(p.meta.UID) + "/" + p.meta.ResourceVersion
	for _, m := range p.rest {
		out += "," + m.ResourceVersion
	}
	return out
}

// size returns the number of ConfigMaps of the parcels.
func size(parcels []parcel) int {
	n := len(parcels)
	for _, p := range parcels {
		n += len(p.rest)
	}
	return n
}

// create writes the ConfigMaps of a parcel. The first owns the others, so that none outlives it.
func (o *Outbox) create(ctx context.Context, l *v1alpha1.Ledger, p ledger.Parcel) error {
	parts := p.Parts()
	annotations := map[string]string{
		v1alpha1.AnnotationOutboxRecords: strconv.Itoa(p.Records),
		v1alpha1.AnnotationOutboxBytes:   strconv.Itoa(len(p.Data)),
	}
	if len(parts) > 1 {
		annotations[v1alpha1.AnnotationOutboxParts] = strconv.Itoa(len(parts))
	}
	first := configMap(l, p, 1, parts[0], annotations)
	// No owner: a foreground deletion would delete the outbox before the Ledger has pushed it.
	if err := o.write(ctx, l, first); err != nil {
		return err
	}
	for i, part := range parts[1:] {
		cm := configMap(l, p, i+2, part, map[string]string{v1alpha1.AnnotationOutboxPart: strconv.Itoa(i + 2)})
		cm.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: first.Name, UID: first.UID},
		}
		if err := o.write(ctx, l, cm); err != nil {
			return err
		}
	}
	return nil
}

func configMap(
	l *v1alpha1.Ledger, p ledger.Parcel, number int, data []byte, annotations map[string]string,
) *corev1.ConfigMap {
	immutable := true
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: ledger.PartName(p.Name, number), Namespace: l.Namespace,
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelLedger: policy.LabelValue(l.Name),
			},
			Annotations: annotations,
		},
		Immutable:  &immutable,
		BinaryData: map[string][]byte{ledger.ParcelKey: data},
	}
}

// write creates a ConfigMap, or reads the UID of one that is there. A part that a former parcel left goes.
func (o *Outbox) write(ctx context.Context, l *v1alpha1.Ledger, cm *corev1.ConfigMap) error {
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
		case there.Labels[v1alpha1.LabelLedger] != cm.Labels[v1alpha1.LabelLedger],
			there.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn: // no push would find it
		case !slices.Equal(there.OwnerReferences, cm.OwnerReferences):
			if err := o.remove(ctx, []parcel{{meta: there.ObjectMeta}}); err != nil {
				return err
			}
			return fmt.Errorf("write outbox: ConfigMap %s was a part of another parcel", cm.Name)
		case !sameParcel(there.BinaryData[ledger.ParcelKey], cm.BinaryData[ledger.ParcelKey]):
			return fmt.Errorf("write outbox: ConfigMap %s holds something else: delete it", cm.Name)
		default:
			cm.UID = there.UID
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("write outbox: %w", err)
	}
	return nil
}

// sameParcel reports whether two ConfigMaps hold the same. Another version of Go can compress the same records in
// another way, which shows if each holds a whole parcel.
func sameParcel(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, unreadable := ledger.Unpack(a)
	y, err := ledger.Unpack(b)
	return unreadable == nil && err == nil && slices.Equal(x, y)
}

// remove deletes parcels, their first ConfigMap before the others: without it, the others are nothing. A deleted parcel
// is no error, and a parcel of the same name but another UID stays.
func (o *Outbox) remove(ctx context.Context, parcels []parcel) error {
	for _, p := range parcels {
		for _, m := range append([]metav1.ObjectMeta{p.meta}, p.rest...) {
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace}}
			err := o.client.Delete(ctx, cm, client.Preconditions{UID: &m.UID})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("delete parcel of outbox: %w", err)
			}
		}
		o.mu.Lock()
		delete(o.paths, p.meta.UID)
		delete(o.taken, p.meta.UID)
		delete(o.unreadable, p.version())
		o.mu.Unlock()
	}
	return nil
}

// take reads the records of a parcel for a push. From then on the parcel is not merged: its records would be pushed and
// counted twice, the second time with the merged parcel.
func (o *Outbox) take(ctx context.Context, p parcel) ([]ledger.Record, error) {
	o.turn.Lock()
	defer o.turn.Unlock()
	records, err := o.load(ctx, p)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(records))
	for i, r := range records {
		paths[i] = r.Path
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paths[p.meta.UID] = paths
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
			paths = nil
			err := o.each(ctx, p, func(r ledger.Record) error {
				paths = append(paths, strings.Clone(r.Path)) // without the content that it can be a part of
				return nil
			})
			if errors.Is(err, ledger.ErrParcel) {
				continue
			}
			if err != nil {
				return nil, err
			}
			o.mu.Lock()
			o.paths[p.meta.UID] = paths
			o.mu.Unlock()
		}
		for _, path := range paths {
			out[path] = true
		}
	}
	return out, nil
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
	bytes := 0
	for _, p := range small {
		if bytes > maxBytes { // the next merge takes the rest
			break
		}
		more, err := o.load(ctx, p)
		if errors.Is(err, ledger.ErrParcel) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		records, merged = append(records, more...), append(merged, p)
		for _, r := range more {
			bytes += len(r.Content)
		}
	}
	return merged, records, nil
}
