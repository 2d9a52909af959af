package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StorageProvider is a sort of backend.
// +kubebuilder:validation:Enum=s3;local
type StorageProvider string

// The values of StorageProvider.
const (
	// ProviderS3 is a bucket behind the S3 protocol.
	ProviderS3 StorageProvider = "s3"
	// ProviderLocal is a volume in the cluster.
	ProviderLocal StorageProvider = "local"
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
}

// Storage is a backend: the provider and the block of that provider.
// +kubebuilder:validation:XValidation:rule="self.provider != 's3' || has(self.s3)",message="provider s3 needs spec.storage.s3"
// +kubebuilder:validation:XValidation:rule="self.provider != 'local' || has(self.local)",message="provider local needs spec.storage.local"
// +kubebuilder:validation:XValidation:rule="self.provider == 's3' || !has(self.s3)",message="spec.storage.s3 goes with provider s3 only"
// +kubebuilder:validation:XValidation:rule="self.provider == 'local' || !has(self.local)",message="spec.storage.local goes with provider local only"
type Storage struct {
	// Provider of the backend.
	// +required
	Provider StorageProvider `json:"provider"`

	// S3 is a bucket behind the S3 protocol.
	// +optional
	S3 *S3Storage `json:"s3,omitempty"`

	// Local is a volume in the cluster. It can be used only from the storage's own namespace.
	// +optional
	Local *LocalStorage `json:"local,omitempty"`
}

// S3Storage is a bucket behind the S3 protocol.
type S3Storage struct {
	// Endpoint is the URL of the server with its scheme. Empty means Amazon's.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^https?://[^/@]+/?$')",message="the endpoint is a URL with scheme, without path and without credentials, for example https://s3.example.com"
	Endpoint string `json:"endpoint,omitempty"`

	// Bucket that exists already.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	Bucket string `json:"bucket"`

	// Prefix of everything that is kept in the bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the prefix holds no .."
	Prefix string `json:"prefix,omitempty"`

	// Region of the bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Region string `json:"region,omitempty"`

	// SecretName of a Secret in the storage's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and optionally
	// CA_CERT_DATA.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName"`

	// InsecureTLS accepts any certificate of the server.
	// +optional
	InsecureTLS bool `json:"insecureTLS,omitempty"`
}

// The keys of the Secret that S3Storage.SecretName names.
const (
	S3AccessKeyID     = "AWS_ACCESS_KEY_ID"
	S3SecretAccessKey = "AWS_SECRET_ACCESS_KEY"
	S3CACertData      = "CA_CERT_DATA"
)

// LocalStorage is a volume in the cluster. As in KubeStash the volume source stands beside the other fields.
type LocalStorage struct {
	// PersistentVolumeClaim in the storage's namespace.
	// +required
	PersistentVolumeClaim ClaimVolumeSource `json:"persistentVolumeClaim"`

	// SubPath of the volume under which everything is kept. The default is its root.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(s, s == '..')",message="the subPath is relative and holds no .."
	SubPath string `json:"subPath,omitempty"`
}

// ClaimVolumeSource names a PersistentVolumeClaim.
type ClaimVolumeSource struct {
	// ClaimName of the PersistentVolumeClaim.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClaimName string `json:"claimName"`
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

	// Conditions: Ready, BackendInitialized, BackendSecretFound, and while it matters Reconciling or Stalled.
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
}

// BackupStorage is a place where backup data is kept.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bs,categories=cairn
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.storage.provider`
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
