package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// DefaultRetention is a default RetentionPolicy that is in force for a Repository. A default can appear, change or go
// without a change of the Repository's own policy. Therefore Snapshots that it newly removes stay for one more day.
type DefaultRetention struct {
	// Ref names the RetentionPolicy, with namespace.
	Ref ObjectReference `json:"ref"`
	// UID of the object.
	// +optional
	UID types.UID `json:"uid,omitempty"`
	// Generation of the object.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// RemovesAfter is when it begins to remove Snapshots. Empty if there were none to remove when it came into force.
	// +optional
	RemovesAfter *metav1.Time `json:"removesAfter,omitempty"`
}

// FormerDefault is the default RetentionPolicy that a Repository followed last. Another default does not replace it by
// itself: it removes nothing until its annotation backup.cairn.dev/replaces-default names the UID.
type FormerDefault struct {
	// Ref names the RetentionPolicy, with namespace.
	Ref ObjectReference `json:"ref"`
	// UID of the object.
	UID types.UID `json:"uid"`
}
