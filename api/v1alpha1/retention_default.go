package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// DefaultRetention is a default RetentionPolicy as a Repository knows it. A default may come, change or go without anybody
// having touched the policy of the Repository: what it lets go at that moment stays for a day, so that it can be seen first.
type DefaultRetention struct {
	// Ref names the RetentionPolicy, with namespace.
	Ref ObjectReference `json:"ref"`
	// UID of it.
	// +optional
	UID types.UID `json:"uid,omitempty"`
	// Generation of it.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// RemovesAfter is when it begins to remove Snapshots. Without it there were none to remove when it came.
	// +optional
	RemovesAfter *metav1.Time `json:"removesAfter,omitempty"`
}
