package policy

import (
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Dependencies are the objects that a policy needs, each once, in the order in which they were added.
type Dependencies []v1alpha1.ResourceFoundStatus

// Add notes whether an object exists. The first word about an object counts.
func (d *Dependencies) Add(object v1alpha1.TypedObjectReference, found bool) {
	d.Merge([]v1alpha1.ResourceFoundStatus{{TypedObjectReference: object, Found: &found}})
}

// Merge adds what others depend on.
func (d *Dependencies) Merge(others []v1alpha1.ResourceFoundStatus) {
	for _, other := range others {
		if !slices.ContainsFunc(*d, func(known v1alpha1.ResourceFoundStatus) bool {
			return known.TypedObjectReference == other.TypedObjectReference
		}) {
			*d = append(*d, other)
		}
	}
}
