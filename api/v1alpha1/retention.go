package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DeletionPolicy is what happens to backup data when the object that stands for it is deleted.
// +kubebuilder:validation:Enum=Delete;WipeOut
type DeletionPolicy string

// The values of DeletionPolicy. Nothing is ever wiped because a namespace or a CRD is being deleted.
const (
	// DeleteObjects removes objects from the cluster. The data in the backend stays.
	DeleteObjects DeletionPolicy = "Delete"
	// WipeOut removes the data in the backend too.
	WipeOut DeletionPolicy = "WipeOut"
)

// RepositoryDeletionPolicy is what happens to a Repository when the policy that uses it is deleted.
// +kubebuilder:validation:Enum=Delete;WipeOut;Retain
type RepositoryDeletionPolicy string

// The values of RepositoryDeletionPolicy.
const (
	// RetainRepository keeps the Repository, its Snapshots and their data.
	RetainRepository RepositoryDeletionPolicy = "Retain"
	// DeleteRepository removes the Repository and its Snapshots from the cluster. The data in the backend stays.
	DeleteRepository RepositoryDeletionPolicy = "Delete"
	// WipeOutRepository removes the data in the backend too.
	WipeOutRepository RepositoryDeletionPolicy = "WipeOut"
)

// RetentionPhase is the progress of applying a RetentionPolicy to a Repository after a run.
// +kubebuilder:validation:Enum=Pending;Applied;FailedToApply
type RetentionPhase string

// The values of RetentionPhase.
const (
	// RetentionPending means that Snapshots are being removed.
	RetentionPending RetentionPhase = "Pending"
	// RetentionApplied means that all Snapshots to remove are gone.
	RetentionApplied RetentionPhase = "Applied"
	// RetentionFailedToApply means that the policy could not be applied. Cairn tries again.
	RetentionFailedToApply RetentionPhase = "FailedToApply"
)

// RetentionPolicyApplyStatus is the progress of applying a RetentionPolicy to a Repository after a run.
type RetentionPolicyApplyStatus struct {
	// Ref names the RetentionPolicy, with namespace. Empty if there is not exactly one.
	// +optional
	Ref *ObjectReference `json:"ref,omitempty"`
	// Repository that the policy is applied to.
	Repository string `json:"repository"`
	// Phase is Pending, Applied or FailedToApply.
	// +optional
	Phase RetentionPhase `json:"phase,omitempty"`
	// Error explains why the policy could not be applied, and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error string `json:"error,omitempty"`
}

// RetentionPolicyUse is the state of a RetentionPolicy as a policy object sees it.
type RetentionPolicyUse struct {
	// Ref names the RetentionPolicy, with namespace.
	// +optional
	Ref ObjectReference `json:"ref,omitempty"`
	// Found is whether it exists.
	// +optional
	Found *bool `json:"found,omitempty"`
	// Reason why it can't be used.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// MaintenanceStatus is when a Repository was last maintained.
type MaintenanceStatus struct {
	// Quick is when indexes were last compacted.
	// +optional
	Quick *metav1.Time `json:"quick,omitempty"`
	// Full is when unreferenced data was last removed.
	// +optional
	Full *metav1.Time `json:"full,omitempty"`
}

// StorageRepository is a Repository of a BackupStorage.
type StorageRepository struct {
	// Name of the Repository.
	Name string `json:"name"`
	// Namespace of the Repository.
	Namespace string `json:"namespace"`
	// Path of its directory.
	// +optional
	Path string `json:"path,omitempty"`
	// Size of its data, for example "12.222 MiB".
	// +optional
	Size string `json:"size,omitempty"`
	// Synced is whether it is initialised in the backend.
	// +optional
	Synced *bool `json:"synced,omitempty"`
	// Error explains why it is not ready.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error *string `json:"error,omitempty"`
}
