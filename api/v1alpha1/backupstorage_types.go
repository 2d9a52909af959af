package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupStorageSpec defines where backup data is kept.
type BackupStorageSpec struct {
	// Storage is the backend.
	// +required
	Storage Storage `json:"storage"`

	// UsagePolicy defines which namespaces can use this storage. The default is only its own namespace. An allowed
	// namespace gets the credential of the storage: its movers work with it.
	// +optional
	UsagePolicy *StorageUsagePolicy `json:"usagePolicy,omitempty"`

	// Default makes this the storage of policies that name none, in its own namespace. If this is a namespace of the
	// administrators (--admin-namespaces of the manager), it also holds in the namespaces that its usagePolicy allows
	// and that have no default of their own. If a namespace has two defaults, the older one counts. If two defaults of
	// administrators allow a namespace, the one that allows it by selector goes before the one that allows all, then
	// the older one.
	// +optional
	Default bool `json:"default,omitempty"`

	// EncryptionSecret names a Secret of this namespace with the key password (or RESTIC_PASSWORD). It is used for the
	// repositories whose policy names no Secret. Namespaces that the usagePolicy allows get it only if it has the
	// annotation backup.cairn.dev/shared: "true": the password decrypts every backup that was encrypted with it.
	// +optional
	EncryptionSecret *LocalObjectReference `json:"encryptionSecret,omitempty"`

	// RuntimeSettings shape the pods of the storage's own Jobs: those that write metadata.yaml, and those that
	// initialise repositories. Backups and restores have a jobTemplate of their own.
	// +optional
	RuntimeSettings *RuntimeSettings `json:"runtimeSettings,omitempty"`

	// DeletionPolicy defines what happens when this storage is deleted. The deletion waits while a BackupConfiguration
	// uses the storage. Then its Repositories and their Snapshots are deleted too. Delete keeps the data in the
	// backend. WipeOut removes the data of the Repositories of this namespace there, and of those of other namespaces
	// whose own deletionPolicy is WipeOut.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// MaintenanceSecretName names a second Secret of this namespace with the same keys as the provider's Secret. If it
	// is set, only it is used to remove data, and the credential of backups and restores needs no right to delete.
	// Namespaces that the usagePolicy allows get it only with shareMaintenanceSecret.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	MaintenanceSecretName string `json:"maintenanceSecretName,omitempty"`
}

// UsagePolicy defines which namespaces can refer to an object.
type UsagePolicy struct {
	// AllowedNamespaces are the namespaces that can refer to the object.
	// +optional
	AllowedNamespaces AllowedNamespaces `json:"allowedNamespaces,omitempty"`
}

// StorageUsagePolicy defines which namespaces can refer to a storage, and where in it their Repositories lie.
type StorageUsagePolicy struct {
	UsagePolicy `json:",inline"`

	// DirectoryPrefix is the directory at or below which the Repositories of other namespaces must lie, such as
	// /{namespace} or /tenants/{cluster}/{namespace}. {namespace} stands for the namespace of the Repository, and
	// {cluster} for the name of the cluster (--cluster-name of the manager). An inferred directory that lies elsewhere
	// gets the prefix in front of it. The storage's own namespace is not bound.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/([{]namespace[}]|[{]cluster[}]|[A-Za-z0-9_-][A-Za-z0-9._-]*))+$')",message="directoryPrefix must be a path such as /{namespace} or /tenants/{cluster}/{namespace}: each element is {namespace}, {cluster}, or a name of letters, digits, dots, dashes and underscores"
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(e, e in ['kopia', 'snapshots', 'removed', 'repository', 'repository.yaml', 'metadata.yaml'])",message="directoryPrefix must not contain a name that is reserved: kopia, snapshots, removed, repository, repository.yaml or metadata.yaml"
	DirectoryPrefix string `json:"directoryPrefix,omitempty"`

	// ShareMaintenanceSecret lets keepers in other namespaces use the storage's maintenanceSecretName. Their Jobs get a
	// copy of its keys, which whoever reads the Secrets of such a namespace can read, and that can delete everything
	// that the key can delete. Without it, keepers there use the credential of backups and restores.
	// +optional
	ShareMaintenanceSecret bool `json:"shareMaintenanceSecret,omitempty"`
}

// Namespaces returns the part that other kinds have, too; nil if there is no policy.
func (p *StorageUsagePolicy) Namespaces() *UsagePolicy {
	if p == nil {
		return nil
	}
	return &p.UsagePolicy
}

// AllowedNamespaces selects all namespaces, those that a selector finds, or only the object's own.
// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from != 'Selector' || has(self.selector)",message="from: Selector needs a selector"
type AllowedNamespaces struct {
	// From is how the namespaces are chosen: All, Selector or Same.
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
	// PhaseNotReady means that it can't be used now. The Ready condition explains why.
	PhaseNotReady = "NotReady"
	// PhaseInvalid means that its spec can't work. The Ready condition explains why.
	PhaseInvalid = "Invalid"
)

// BackupStorageStatus is the observed state of the backend.
type BackupStorageStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, BackendInitialized and BackendSecretFound; DefaultIgnored, Reconciling and Stalled while they
	// matter.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase is Ready or NotReady.
	// +optional
	// +kubebuilder:validation:Enum=Ready;NotReady
	Phase string `json:"phase,omitempty"`

	// InitializedSpec is the digest of the backend and its credential when metadata.yaml was last seen in the backend.
	// +optional
	InitializedSpec string `json:"initializedSpec,omitempty"`

	// InitializedPlace is the digest of the place where metadata.yaml was last seen. While the spec names that place,
	// the file is written there again only beside a repository of this storage: a disk that is not mounted is empty.
	// +optional
	InitializedPlace string `json:"initializedPlace,omitempty"`

	// TotalSize of all its Repositories, for example "12.222 MiB".
	// +optional
	TotalSize string `json:"totalSize,omitempty"`

	// Repositories of the storage, by namespace and name. At most 1,000 are listed.
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
