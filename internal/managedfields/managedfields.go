// Package managedfields tells which fields of an object a field manager has applied, and makes those of kubectl its
// own. All functions are safe for concurrent use.
package managedfields

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// AppliedBy returns the fields that a manager has applied to an object: what is in its metadata.managedFields.
func AppliedBy(manager string, o metav1.Object) (*fieldpath.Set, error) {
	return fieldsOf(o, func(e *metav1.ManagedFieldsEntry) bool {
		return e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply
	})
}

// OwnedBy returns the fields of an object that a manager has applied, or has written in another way.
func OwnedBy(manager string, o metav1.Object) (*fieldpath.Set, error) {
	return fieldsOf(o, func(e *metav1.ManagedFieldsEntry) bool { return e.Manager == manager })
}

// Applier returns a manager that has applied a field of an object and is not kubectl, or "".
func Applier(field fieldpath.Path, o metav1.Object) (string, error) {
	entries := o.GetManagedFields()
	for i := range entries {
		e := &entries[i]
		if e.Operation != metav1.ManagedFieldsOperationApply || e.Subresource != "" || ofKubectl(*e) {
			continue
		}
		applied, err := AppliedBy(e.Manager, o)
		if err != nil || applied.Has(field) {
			return e.Manager, err
		}
	}
	return "", nil
}

// fieldsOf returns the fields of some entries.
func fieldsOf(o metav1.Object, counts func(*metav1.ManagedFieldsEntry) bool) (*fieldpath.Set, error) {
	all, entries := fieldpath.NewSet(), o.GetManagedFields()
	for i := range entries {
		if e := &entries[i]; e.FieldsV1 == nil || !counts(e) {
			continue
		}
		var set fieldpath.Set
		if err := set.FromJSON(entries[i].FieldsV1.GetRawReader()); err != nil {
			return nil, fmt.Errorf("read managedFields of %s: %w", o.GetName(), err)
		}
		all = all.Union(&set)
	}
	return all, nil
}
