package v1alpha1

// ResourceFoundStatus says whether an object that something depends on exists.
type ResourceFoundStatus struct {
	// The object.
	TypedObjectReference `json:",inline"`

	// Found says whether it exists.
	// +optional
	Found *bool `json:"found,omitempty"`
}
