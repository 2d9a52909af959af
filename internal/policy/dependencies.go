package policy

import (
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Dependencies lists the objects that a policy needs, each once, in the order of their addition.
type Dependencies []v1alpha1.ResourceFoundStatus

// Add notes whether an object exists. Only the first note about an object counts.
func (d *Dependencies) Add(object v1alpha1.TypedObjectReference, found bool) {
	d.Merge([]v1alpha1.ResourceFoundStatus{{TypedObjectReference: object, Found: &found}})
}

// Merge adds the dependencies of others.
func (d *Dependencies) Merge(others []v1alpha1.ResourceFoundStatus) {
	for _, other := range others {
		if !slices.ContainsFunc(*d, func(known v1alpha1.ResourceFoundStatus) bool {
			return known.TypedObjectReference == other.TypedObjectReference
		}) {
			*d = append(*d, other)
		}
	}
}
