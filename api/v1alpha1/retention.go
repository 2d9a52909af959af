package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DeletionPolicy says what becomes of backup data when the object that stands for it is deleted.
// +kubebuilder:validation:Enum=Delete;WipeOut
type DeletionPolicy string

// The values of DeletionPolicy. Nothing is ever wiped because a namespace is being deleted.
const (
	// DeleteObjects removes objects of the cluster. The data in the backend stays.
	DeleteObjects DeletionPolicy = "Delete"
	// WipeOut removes the data in the backend too.
	WipeOut DeletionPolicy = "WipeOut"
)

// RepositoryDeletionPolicy says what becomes of a Repository when the policy that made it is deleted.
// +kubebuilder:validation:Enum=Delete;WipeOut;Retain
type RepositoryDeletionPolicy string

// The values of RepositoryDeletionPolicy.
const (
	// RetainRepository leaves Repository, Snapshots and data as they are.
	RetainRepository RepositoryDeletionPolicy = "Retain"
	// DeleteRepository removes the Repository and its Snapshots from the cluster. The data in the backend stays.
	DeleteRepository RepositoryDeletionPolicy = "Delete"
	// WipeOutRepository removes the data in the backend too.
	WipeOutRepository RepositoryDeletionPolicy = "WipeOut"
)

// RetentionPhase is how far a RetentionPolicy was applied to a Repository after a run.
// +kubebuilder:validation:Enum=Pending;Applied;FailedToApply
type RetentionPhase string

// The values of RetentionPhase.
const (
	// RetentionPending means that Snapshots are being removed.
	RetentionPending RetentionPhase = "Pending"
	// RetentionApplied means that all that was to go is gone.
	RetentionApplied RetentionPhase = "Applied"
	// RetentionFailedToApply means that something keeps the policy from being applied. It is tried again.
	RetentionFailedToApply RetentionPhase = "FailedToApply"
)

// RetentionPolicyApplyStatus is how far a RetentionPolicy was applied to a Repository after a run.
type RetentionPolicyApplyStatus struct {
	// Ref names the RetentionPolicy, with namespace. It is empty where there is not one alone.
	// +optional
	Ref *ObjectReference `json:"ref,omitempty"`
	// Repository that it is applied to.
	Repository string `json:"repository"`
	// Phase is Pending, Applied or FailedToApply.
	// +optional
	Phase RetentionPhase `json:"phase,omitempty"`
	// Error says what keeps the policy from being applied, and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error string `json:"error,omitempty"`
}

// RetentionPolicyUse is the state of a RetentionPolicy as a policy object sees it.
type RetentionPolicyUse struct {
	// Ref names the RetentionPolicy, with namespace.
	// +optional
	Ref ObjectReference `json:"ref,omitempty"`
	// Found says whether it exists.
	// +optional
	Found *bool `json:"found,omitempty"`
	// Reason why it can't be used.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// MaintenanceStatus is when a Repository was maintained last.
type MaintenanceStatus struct {
	// Quick is when indexes were compacted last.
	// +optional
	Quick *metav1.Time `json:"quick,omitempty"`
	// Full is when what nothing refers to any more was collected last.
	// +optional
	Full *metav1.Time `json:"full,omitempty"`
}

// StorageRepository is a Repository of a BackupStorage.
type StorageRepository struct {
	// Name of the Repository.
	Name string `json:"name"`
	// Namespace of the Repository.
	Namespace string `json:"namespace"`
	// Path is its directory.
	// +optional
	Path string `json:"path,omitempty"`
	// Size of what it holds, for example "12.222 MiB".
	// +optional
	Size string `json:"size,omitempty"`
	// Synced says whether it is initialised in the backend.
	// +optional
	Synced *bool `json:"synced,omitempty"`
	// Error that it is not ready for.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error *string `json:"error,omitempty"`
}
