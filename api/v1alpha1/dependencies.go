package v1alpha1

// ResourceFoundStatus is whether an object that another object depends on exists.
type ResourceFoundStatus struct {
	// The object.
	TypedObjectReference `json:",inline"`

	// Found is whether it exists.
	// +optional
	Found *bool `json:"found,omitempty"`
}
