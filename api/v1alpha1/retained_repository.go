package v1alpha1

// MaxRetained is the largest number of Repositories that status.retained lists.
const MaxRetained = 100

// RetainedRepository is a Repository that policy has left behind, with its backups.
type RetainedRepository struct {
	// Name of the Repository.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// AppRef is the target whose backups the Repository holds.
	// +optional
	AppRef TypedObjectReference `json:"appRef,omitzero"`
	// Reason is TargetLeft if policy no longer backs up this target, and RepositoryLeft if it backs up the target to
	// other Repositories.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
}

// RetainedRepositories are the Repositories that a policy has left behind.
type RetainedRepositories struct {
	// Retained lists Repositories that Cairn made for this policy and that no policy uses any more: their target has
	// left the policy, or policy names another Repository. They stay, with their backups, until somebody deletes the
	// Repository. An entry goes when policy uses the Repository again. At most 100 are listed.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Retained []RetainedRepository `json:"retained,omitempty"`

	// RetainedCount is the number of these Repositories, including those that are not listed.
	// +optional
	RetainedCount int32 `json:"retainedCount,omitempty"`
}
