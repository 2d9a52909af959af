package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RepositorySpec says which directory of which storage holds the backups of which target. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a Repository's spec never changes: its data would be left behind. Make another Repository"
type RepositorySpec struct {
	// AppRef is the target whose backups are kept here.
	// +required
	AppRef TypedObjectReference `json:"appRef"`

	// StorageRef names the BackupStorage.
	// +required
	StorageRef ObjectReference `json:"storageRef"`

	// Path is the directory below the storage's prefix.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the path holds no .."
	// +kubebuilder:validation:XValidation:rule="self.matches('[^/.]')",message="the path names a directory, not the storage's root"
	Path string `json:"path"`

	// EncryptionSecret names a Secret with the key password (or RESTIC_PASSWORD). Without it the data can't be read again:
	// keep a copy outside of the cluster.
	// +required
	EncryptionSecret ObjectReference `json:"encryptionSecret"`

	// Driver that keeps the data.
	// +optional
	// +kubebuilder:default=Kopia
	Driver Driver `json:"driver,omitempty"`
}

// The keys of an encryption Secret. EncryptionPassword wins.
const (
	EncryptionPassword       = "password"
	EncryptionResticPassword = "RESTIC_PASSWORD"
)

// RepositoryStatus is what the repository holds.
type RepositoryStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, RepositoryInitialized, and while it matters Reconciling or Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase is Ready or NotReady.
	// +optional
	// +kubebuilder:validation:Enum=Ready;NotReady
	Phase string `json:"phase,omitempty"`

	// InitializedSpec is the digest of the directory and its backend at the time repository.yaml was last seen there. Once
	// it is set the repository is looked for, never created again.
	// +optional
	InitializedSpec string `json:"initializedSpec,omitempty"`

	// LastBackupTime is when the last successful backup ended.
	// +optional
	LastBackupTime *metav1.Time `json:"lastBackupTime,omitempty"`

	// SnapshotCount is the number of Snapshots that succeeded.
	// +optional
	SnapshotCount *int32 `json:"snapshotCount,omitempty"`

	// Size of what the newest successful Snapshot restores to, for example "12.222 MiB".
	// +optional
	Size string `json:"size,omitempty"`

	// RecentSnapshots are the newest five.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=5
	RecentSnapshots []SnapshotInfo `json:"recentSnapshots,omitempty"`
}

// SnapshotInfo is the short form of a Snapshot.
type SnapshotInfo struct {
	// Name of the Snapshot.
	Name string `json:"name"`
	// Phase of the Snapshot.
	// +optional
	Phase SnapshotPhase `json:"phase,omitempty"`
	// Session of the policy that made it.
	// +optional
	Session string `json:"session,omitempty"`
	// Size of what it restores to.
	// +optional
	Size string `json:"size,omitempty"`
	// SnapshotTime is when it was made.
	// +optional
	SnapshotTime *metav1.Time `json:"snapshotTime,omitempty"`
}

// Repository is a directory of a BackupStorage that holds the backups of one target. Nothing owns it: when policy goes,
// it and its data stay.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=repo,categories=cairn
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.appRef.name`
// +kubebuilder:printcolumn:name="Snapshot-Count",type=integer,JSONPath=`.status.snapshotCount`
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.status.size`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Last-Successful-Backup",type=date,JSONPath=`.status.lastBackupTime`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Repository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RepositorySpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status RepositoryStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (r *Repository) GetConditions() []metav1.Condition { return r.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (r *Repository) SetConditions(c []metav1.Condition) { r.Status.Conditions = c }

// RepositoryList is a list of Repositories.
// +kubebuilder:object:root=true
type RepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Repository `json:"items"`
}
