package managedfields

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

var (
	metadata    = fieldpath.NewSet(fieldpath.MakePathOrDie("metadata"))
	lastApplied = fieldpath.NewSet(
		fieldpath.MakePathOrDie("metadata", "annotations", corev1.LastAppliedConfigAnnotation))
)

// Stays reports whether a field stays kubectl's. applied are the fields that the manager has applied.
type Stays func(field fieldpath.Path, applied *fieldpath.Set) bool

// Added reports whether the manager has applied neither a field nor anything in it: it is what somebody added. What the
// manager has filled would stay behind empty when the manager drops what is in it.
func Added(field fieldpath.Path, applied *fieldpath.Set) bool {
	within := applied
	for _, element := range field {
		within = within.WithPrefix(element)
	}
	return !applied.Has(field) && within.Empty()
}

// TakeFromKubectl returns the metadata.managedFields of an object as they are if a manager has applied, itself, all
// fields that kubectl owns. Its next apply then removes those of them that it does not apply. The rest of the metadata
// stays kubectl's: many labels and annotations are requests that a person makes with kubectl, such as a consent. The
// record that "kubectl apply" keeps of the other fields goes with them. The fields for which stays returns true stay
// kubectl's; stays can be nil. TakeFromKubectl returns nil if kubectl owns no such field.
func TakeFromKubectl(manager string, o metav1.Object, stays Stays) ([]metav1.ManagedFieldsEntry, error) {
	all, err := AppliedBy(manager, o)
	if err != nil {
		return nil, err
	}
	applied := all
	var own metav1.ManagedFieldsEntry
	entries := slices.Clone(o.GetManagedFields())
	if at := slices.IndexFunc(entries, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
	}); at >= 0 {
		own = entries[at]
		entries = slices.Delete(entries, at, at+1)
	}
	var out []metav1.ManagedFieldsEntry
	took := false
	for _, e := range entries {
		taken, left, err := split(e, applied, stays)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read managedFields of %s: %w", o.GetName(), err)
		case taken.Empty() || own.Manager != "" && own.APIVersion != e.APIVersion: // there fields can have other names
			out = append(out, e)
			continue
		case own.Manager == "":
			own = e
			own.Manager, own.Operation = manager, metav1.ManagedFieldsOperationApply
		}
		took, all = true, all.Union(taken)
		if left.Empty() {
			continue
		}
		if e.FieldsV1, err = encode(left); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if !took {
		return nil, nil
	}
	own.FieldsV1, err = encode(all)
	return append(out, own), err
}

// split returns the fields of an entry that can be taken from kubectl, and those that are left to it.
func split(e metav1.ManagedFieldsEntry, applied *fieldpath.Set, stays Stays) (taken, left *fieldpath.Set, err error) {
	if !ofKubectl(e) {
		return fieldpath.NewSet(), nil, nil
	}
	all := fieldpath.NewSet()
	if err := all.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return nil, nil, err
	}
	taken = all.RecursiveDifference(metadata)
	if stays != nil {
		kept := fieldpath.NewSet()
		taken.Iterate(func(field fieldpath.Path) {
			if stays(field, applied) {
				kept.Insert(field.Copy())
			}
		})
		taken = taken.Difference(kept)
	}
	if !taken.Empty() {
		taken = taken.Union(all.Intersection(lastApplied))
	}
	return taken, all.Difference(taken), nil
}

// ofKubectl reports whether an entry is of kubectl, or of what came before the first server-side apply. Who scales a
// workload writes to its subresource: that is no edit of the object.
func ofKubectl(e metav1.ManagedFieldsEntry) bool {
	return e.Subresource == "" && e.FieldsV1 != nil && (strings.HasPrefix(e.Manager, "kubectl") ||
		strings.HasPrefix(e.Manager, "before-first-apply") && e.Operation == metav1.ManagedFieldsOperationUpdate)
}

func encode(set *fieldpath.Set) (*metav1.FieldsV1, error) {
	raw, err := set.ToJSON()
	if err != nil {
		return nil, fmt.Errorf("encode managedFields: %w", err)
	}
	return metav1.NewFieldsV1(string(raw)), nil
}
