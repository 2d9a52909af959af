package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RepositorySpec says which directory of which storage holds the backups of which target, or that they are VolumeSnapshots. It never
// changes, except for deletionPolicy and paused, and that the first BackupConfiguration that uses a Repository without appRef fills it in.
// +kubebuilder:validation:XValidation:rule="!has(self.backend)",message="a Repository has no backend: make a BackupStorage with this backend and its Secret, name it in spec.storageRef, and put the prefix or subPath below it into spec.path"
// +kubebuilder:validation:XValidation:rule="!has(self.wipeOut)",message="a Repository has no wipeOut: write deletionPolicy: WipeOut where it is true, and leave it out where it is false"
// +kubebuilder:validation:XValidation:rule="!has(self.usagePolicy)",message="a Repository has no usagePolicy: write it into the BackupStorage"
// +kubebuilder:validation:XValidation:rule="has(self.backend) || has(self.storageRef) || self.driver == 'VolumeSnapshotter'",message="spec.storageRef is required: it names a BackupStorage"
// +kubebuilder:validation:XValidation:rule="has(self.backend) || has(self.path) || self.driver == 'VolumeSnapshotter'",message="spec.path is required: it is the directory below the storage's prefix"
// +kubebuilder:validation:XValidation:rule="has(self.backend) || has(self.encryptionSecret) || self.driver == 'VolumeSnapshotter'",message="spec.encryptionSecret is required: it names the Secret with the password"
// +kubebuilder:validation:XValidation:rule="self.driver != 'VolumeSnapshotter' || !has(self.storageRef) && !has(self.path) && !has(self.encryptionSecret)",message="VolumeSnapshots lie in the storage system of their volume: leave storageRef, path and encryptionSecret out"
// +kubebuilder:validation:XValidation:rule="self.driver == oldSelf.driver && has(self.storageRef) == has(oldSelf.storageRef) && (!has(self.storageRef) || self.storageRef == oldSelf.storageRef) && has(self.path) == has(oldSelf.path) && (!has(self.path) || self.path == oldSelf.path) && has(self.encryptionSecret) == has(oldSelf.encryptionSecret) && (!has(self.encryptionSecret) || self.encryptionSecret == oldSelf.encryptionSecret) && (!has(oldSelf.appRef) || has(self.appRef) && self.appRef == oldSelf.appRef)",message="a Repository's spec never changes, but for deletionPolicy and paused: its data would be left behind. Make another Repository"
type RepositorySpec struct {
	// AppRef is the target whose backups are kept here. A Repository without it takes the target of the first
	// BackupConfiguration that uses it.
	// +optional
	AppRef TypedObjectReference `json:"appRef,omitzero"`

	// StorageRef names the BackupStorage. With driver VolumeSnapshotter there is none.
	// +optional
	StorageRef ObjectReference `json:"storageRef,omitzero"`

	// Backend is where Stash's Repository has what a BackupStorage says here. It is refused.
	// +optional
	Backend *Refused `json:"backend,omitempty"`

	// WipeOut is what Stash's Repository has where deletionPolicy stands here. It is refused.
	// +optional
	WipeOut *bool `json:"wipeOut,omitempty"`

	// UsagePolicy is what Stash's Repository has and a BackupStorage has here. It is refused.
	// +optional
	UsagePolicy *Refused `json:"usagePolicy,omitempty"`

	// Path is the directory below the storage's prefix. With driver VolumeSnapshotter there is none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the path holds no .."
	// +kubebuilder:validation:XValidation:rule="self.matches('[^/.]')",message="the path names a directory, not the storage's root"
	Path string `json:"path,omitempty"`

	// EncryptionSecret names a Secret with the key password (or RESTIC_PASSWORD). Without it the data can't be read again:
	// keep a copy outside of the cluster. With driver VolumeSnapshotter there is none.
	// +optional
	EncryptionSecret ObjectReference `json:"encryptionSecret,omitzero"`

	// Driver that keeps the data.
	// +optional
	// +kubebuilder:default=Kopia
	Driver Driver `json:"driver,omitempty"`

	// DeletionPolicy says what happens when this Repository is deleted. Its Snapshots go with it; Delete keeps the data in
	// the backend, WipeOut removes its directory there.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Paused keeps retention and maintenance away from this Repository. Backups and restores go on.
	// +optional
	Paused bool `json:"paused,omitempty"`
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

	// Conditions: Ready, RepositoryInitialized, RetentionApplied, Maintained, and while it matters Reconciling or Stalled.
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

	// ProvedAfter is the Snapshot that failed because the password had changed, and after which a password was seen to fit
	// again.
	// +optional
	ProvedAfter string `json:"provedAfter,omitempty"`

	// LastBackupTime is when the last successful backup ended.
	// +optional
	LastBackupTime *metav1.Time `json:"lastBackupTime,omitempty"`

	// SnapshotCount is the number of Snapshots that succeeded.
	// +optional
	SnapshotCount *int32 `json:"snapshotCount,omitempty"`

	// Size of what the repository holds in the backend as of the last time that it was maintained, for example "12.222 MiB".
	// Before that it is what the newest successful Snapshot restores to.
	// +optional
	Size string `json:"size,omitempty"`

	// StoredBytes is what the repository held in the backend when it was maintained last.
	// +optional
	StoredBytes *int64 `json:"storedBytes,omitempty"`

	// Integrity says whether the last weekly maintenance found everything that it needed, and every Snapshot that it checked
	// whole. Nothing is said before the first one. While it is false the check is repeated daily.
	// +optional
	Integrity *bool `json:"integrity,omitempty"`

	// RetentionPolicy that is in force, with namespace. Without one everything is kept.
	// +optional
	RetentionPolicy *ObjectReference `json:"retentionPolicy,omitempty"`

	// DefaultRetention is about that RetentionPolicy where it is in force as a default, because policy names none.
	// +optional
	DefaultRetention *DefaultRetention `json:"defaultRetention,omitempty"`

	// LastMaintenance is when the repository was maintained last.
	// +optional
	LastMaintenance *MaintenanceStatus `json:"lastMaintenance,omitempty"`

	// LastRemovalTime is when data was last removed from the repository. A removal is looked after for some days.
	// +optional
	LastRemovalTime *metav1.Time `json:"lastRemovalTime,omitempty"`

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
// +kubebuilder:printcolumn:name="Integrity",type=boolean,JSONPath=`.status.integrity`,priority=1
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
