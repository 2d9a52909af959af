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
	all := fieldpath.NewSet()
	for _, e := range o.GetManagedFields() {
		if e.Manager != manager || e.Operation != metav1.ManagedFieldsOperationApply || e.FieldsV1 == nil {
			continue
		}
		var set fieldpath.Set
		if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
			return nil, fmt.Errorf("read managedFields of %s: %w", o.GetName(), err)
		}
		all = all.Union(&set)
	}
	return all, nil
}
