package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupStorageSpec says where backup data is kept.
type BackupStorageSpec struct {
	// Storage is the backend.
	// +required
	Storage Storage `json:"storage"`

	// UsagePolicy says which namespaces may use this storage. The default is its own namespace only. To allow a namespace
	// is to hand the storage's credential to the movers that run there.
	// +optional
	UsagePolicy *UsagePolicy `json:"usagePolicy,omitempty"`

	// Default makes this the storage of policies that name none: in its own namespace, and in those that its usagePolicy
	// allows and that have no default of their own. Of two defaults in a namespace the older one counts, and of two that
	// another namespace may use that by selector before that for all, then the older one.
	// +optional
	Default bool `json:"default,omitempty"`

	// EncryptionSecret names a Secret of this namespace with the key password (or RESTIC_PASSWORD) for the repositories whose
	// policy names none. Namespaces that the usagePolicy allows get it only where it has the annotation
	// backup.cairn.dev/shared: "true": who has the password can read every backup that is encrypted with it.
	// +optional
	EncryptionSecret *LocalObjectReference `json:"encryptionSecret,omitempty"`

	// RuntimeSettings shape the pods of the Jobs that belong to the storage itself: the one that writes metadata.yaml, and
	// those that initialise repositories in it. Backups and restores are shaped by their own jobTemplate.
	// +optional
	RuntimeSettings *RuntimeSettings `json:"runtimeSettings,omitempty"`

	// DeletionPolicy says what happens when this storage is deleted. It waits while a BackupConfiguration uses it; then the
	// Repositories in it and their Snapshots go too. Delete keeps the data in the backend, WipeOut removes the Repositories'
	// directories there.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// MaintenanceSecretName names a second Secret with the same keys as the provider's, in this namespace. Where it is set,
	// only it is used to remove data: the credential of backups and restores then needs no right to delete.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	MaintenanceSecretName string `json:"maintenanceSecretName,omitempty"`
}

// UsagePolicy says which namespaces may refer to an object.
type UsagePolicy struct {
	// AllowedNamespaces are the namespaces that may refer to the object.
	// +optional
	AllowedNamespaces AllowedNamespaces `json:"allowedNamespaces,omitempty"`
}

// AllowedNamespaces is all namespaces, those of a selector, or the same one.
// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from != 'Selector' || has(self.selector)",message="from: Selector needs a selector"
type AllowedNamespaces struct {
	// From says how the namespaces are chosen.
	// +optional
	// +kubebuilder:default=Same
	From *NamespacesFrom `json:"from,omitempty"`

	// Selector on the labels of namespaces, for from: Selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// Phases of BackupStorage and Repository, and of BackupConfiguration and BackupBatch.
const (
	// PhaseReady means that the object can be used.
	PhaseReady = "Ready"
	// PhaseNotReady means that it can't be used now; the Ready condition says why.
	PhaseNotReady = "NotReady"
	// PhaseInvalid means that its spec can't work; the Ready condition says why.
	PhaseInvalid = "Invalid"
)

// BackupStorageStatus is what is known of the backend.
type BackupStorageStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, BackendInitialized, BackendSecretFound, and while it matters DefaultIgnored, Reconciling or Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase is Ready or NotReady.
	// +optional
	// +kubebuilder:validation:Enum=Ready;NotReady
	Phase string `json:"phase,omitempty"`

	// InitializedSpec is the digest of the backend and its credential at the time metadata.yaml was last seen there.
	// +optional
	InitializedSpec string `json:"initializedSpec,omitempty"`

	// TotalSize of all its Repositories, for example "12.222 MiB".
	// +optional
	TotalSize string `json:"totalSize,omitempty"`

	// Repositories that use it, by namespace and name; at most 1000 are listed.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	Repositories []StorageRepository `json:"repositories,omitempty"`
}

// BackupStorage is a place where backup data is kept.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bs,categories=cairn
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.storage.provider`
// +kubebuilder:printcolumn:name="Default",type=boolean,JSONPath=`.spec.default`
// +kubebuilder:printcolumn:name="Deletion-Policy",type=string,JSONPath=`.spec.deletionPolicy`,priority=1
// +kubebuilder:printcolumn:name="Total-Size",type=string,JSONPath=`.status.totalSize`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BackupStorage struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BackupStorageSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status BackupStorageStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (s *BackupStorage) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (s *BackupStorage) SetConditions(c []metav1.Condition) { s.Status.Conditions = c }

// BackupStorageList is a list of BackupStorages.
// +kubebuilder:object:root=true
type BackupStorageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackupStorage `json:"items"`
}
