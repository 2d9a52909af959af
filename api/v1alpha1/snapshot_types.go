package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SnapshotPhase is how far a Snapshot is.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed
type SnapshotPhase string

// The phases of a Snapshot and of components.
const (
	SnapshotPending   SnapshotPhase = "Pending"
	SnapshotRunning   SnapshotPhase = "Running"
	SnapshotSucceeded SnapshotPhase = "Succeeded"
	SnapshotFailed    SnapshotPhase = "Failed"
)

// Terminal says whether the phase never changes again.
func (p SnapshotPhase) Terminal() bool { return p == SnapshotSucceeded || p == SnapshotFailed }

// SnapshotType is how much of its target a Snapshot holds.
type SnapshotType string

// FullBackup is a Snapshot that can be restored by itself.
const FullBackup SnapshotType = "FullBackup"

// SnapshotSpec says what the Snapshot is of. Only deletionPolicy and paused ever change.
// +kubebuilder:validation:XValidation:rule="self.snapshotID == oldSelf.snapshotID && self.repository == oldSelf.repository && self.session == oldSelf.session && self.backupSession == oldSelf.backupSession && self.version == oldSelf.version && self.appRef == oldSelf.appRef",message="a Snapshot's spec never changes, but for deletionPolicy and paused"
type SnapshotSpec struct {
	// SnapshotID is a sortable identifier (ULID).
	// +required
	// +kubebuilder:validation:MaxLength=64
	SnapshotID string `json:"snapshotID"`

	// Type is FullBackup: every Snapshot can be restored by itself, though only what is new was sent.
	// +optional
	// +kubebuilder:validation:Enum=FullBackup
	// +kubebuilder:default=FullBackup
	Type SnapshotType `json:"type,omitempty"`

	// Repository it lies in, in this namespace.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Repository string `json:"repository"`

	// Session of the policy that made it.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Session string `json:"session"`

	// BackupSession that made it.
	// +required
	// +kubebuilder:validation:MaxLength=253
	BackupSession string `json:"backupSession"`

	// Version of the layout in the repository.
	// +required
	// +kubebuilder:validation:MaxLength=16
	Version string `json:"version"`

	// AppRef is the target.
	// +required
	AppRef TypedObjectReference `json:"appRef"`

	// DeletionPolicy says what happens to the data in the backend when this Snapshot is deleted: Delete keeps it, WipeOut
	// removes it. Retention sets WipeOut on what it removes.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Paused keeps retention from removing this Snapshot.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// SnapshotLayoutVersion is the layout that SnapshotSpec.Version names.
const SnapshotLayoutVersion = "v1"

// SnapshotStatus is what the Snapshot holds.
type SnapshotStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Partial, and while it is made Reconciling; Stalled when it failed. Retained is False once retention lets it
	// go, and says why.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase of the Snapshot.
	// +optional
	Phase SnapshotPhase `json:"phase,omitempty"`

	// SnapshotTime is when the last component was complete.
	// +optional
	SnapshotTime *metav1.Time `json:"snapshotTime,omitempty"`

	// LastUpdateTime is when Cairn last learned something new of the Snapshot as a whole.
	// +optional
	LastUpdateTime *metav1.Time `json:"lastUpdateTime,omitempty"`

	// Integrity says whether everything that its components need was in the repository when that was checked last: their files
	// were not read back. Nothing is said before the first check, or while a component is not known of. With driver VolumeSnapshotter it
	// says whether the VolumeSnapshots are there and can be used. Retention lets a Snapshot take nobody's place of which this is false.
	// +optional
	Integrity *bool `json:"integrity,omitempty"`

	// LastCheckTime is when it was checked last. The weekly maintenance of the repository does that; VolumeSnapshots are looked for every
	// hour, and that they were found is written down once a day.
	// +optional
	LastCheckTime *metav1.Time `json:"lastCheckTime,omitempty"`

	// Size of all components, for example "12.222 MiB".
	// +optional
	Size string `json:"size,omitempty"`

	// TotalComponents is the number of components that belong to it.
	// +optional
	TotalComponents int32 `json:"totalComponents,omitempty"`

	// Components by name. Each is written by the mover that makes it.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=2000
	Components map[string]Component `json:"components,omitempty"`

	// Records are the commits that hold the record of its removal, one a Ledger. What it held is in the record of its run.
	// +optional
	// +listType=map
	// +listMapKey=ledger
	// +kubebuilder:validation:MaxItems=16
	Records []RecordStatus `json:"records,omitempty"`
}

// Component is one stream of data of a Snapshot: the content of a volume.
type Component struct {
	// Phase of the component.
	// +optional
	Phase SnapshotPhase `json:"phase,omitempty"`
	// Path inside the volume that was backed up. Empty is the root.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`
	// Driver that keeps the data.
	// +optional
	Driver Driver `json:"driver,omitempty"`
	// ID of the data in the repository.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id,omitempty"`
	// Size of what it restores to, for example "12.222 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Size string `json:"size,omitempty"`
	// SizeBytes is the same in bytes.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`
	// Uploaded is what had to be sent, for example "1.500 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Uploaded string `json:"uploaded,omitempty"`
	// UploadedBytes is the same in bytes.
	// +optional
	UploadedBytes   int64 `json:"uploadedBytes,omitempty"`
	ComponentCounts `json:",inline"`
	// StartTime is when reading began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when the data was complete in the repository.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Duration of the work, rounded to milliseconds.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Duration string `json:"duration,omitempty"`
	// Integrity says whether everything that it needs was in the repository when that was checked last.
	// +optional
	Integrity *bool `json:"integrity,omitempty"`
	// Progress while it runs.
	// +optional
	Progress *ComponentProgress `json:"progress,omitempty"`
	// VolumeSnapshotterStats is the VolumeSnapshot that is the component, with driver VolumeSnapshotter.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	VolumeSnapshotterStats []VolumeSnapshotterStats `json:"volumeSnapshotterStats,omitempty"`
	// Reason of a failure, one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Error says what happened and what to do. It never holds the name of a user's file.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error string `json:"error,omitempty"`
}

// VolumeSnapshotterStats is a VolumeSnapshot and what a volume that is made of it needs.
type VolumeSnapshotterStats struct {
	// PVCName of the PersistentVolumeClaim that it is of.
	// +kubebuilder:validation:MaxLength=253
	PVCName string `json:"pvcName"`
	// VolumeSnapshotName in the namespace of the Snapshot.
	// +kubebuilder:validation:MaxLength=253
	VolumeSnapshotName string `json:"volumeSnapshotName"`
	// VolumeSnapshotTime is when the storage system made it.
	// +optional
	VolumeSnapshotTime *metav1.Time `json:"volumeSnapshotTime,omitempty"`
	// VolumeSnapshotClassName of the class that it was made with.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	VolumeSnapshotClassName string `json:"volumeSnapshotClassName,omitempty"`
	// VolumeSnapshotContentName of the object that stands for it in the storage system.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	VolumeSnapshotContentName string `json:"volumeSnapshotContentName,omitempty"`
	// SnapshotHandle is what the storage system calls it. With this and the driver it can be used from another namespace or cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	SnapshotHandle string `json:"snapshotHandle,omitempty"`
	// Driver is the CSI driver.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Driver string `json:"driver,omitempty"`
	// DeletionPolicy of the VolumeSnapshotContent when it was made: with Delete, whoever deletes the VolumeSnapshot or its namespace
	// deletes the data.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	DeletionPolicy string `json:"deletionPolicy,omitempty"`
	// ContentDeletionPolicy is what becomes of the snapshot in the storage system when Cairn removes the VolumeSnapshot: Delete or
	// Retain.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	ContentDeletionPolicy string `json:"contentDeletionPolicy,omitempty"`
	// RestoreSize is the least size of a volume that is made of it, in bytes.
	// +optional
	RestoreSize int64 `json:"restoreSize,omitempty"`
	// StorageClassName of the claim.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	StorageClassName string `json:"storageClassName,omitempty"`
	// AccessModes of the claim.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	// VolumeMode of the claim.
	// +optional
	VolumeMode corev1.PersistentVolumeMode `json:"volumeMode,omitempty"`
}

// ComponentCounts is what was found where a component was read.
type ComponentCounts struct {
	// Files is the number of files in it.
	// +optional
	Files int64 `json:"files,omitempty"`
	// Directories is the number of directories in it, the uppermost one included.
	// +optional
	Directories int64 `json:"directories,omitempty"`
	// Symlinks is the number of symbolic links in it.
	// +optional
	Symlinks int64 `json:"symlinks,omitempty"`
	// HardLinks is the number of names of files that have several names.
	// +optional
	HardLinks int64 `json:"hardLinks,omitempty"`
	// Special is the number of FIFOs and devices in it. Devices are restored only when that is asked for.
	// +optional
	Special int64 `json:"special,omitempty"`
	// Sockets is the number of sockets that were left out: they hold no data, and the program that listens makes its own.
	// +optional
	Sockets int64 `json:"sockets,omitempty"`
	// Unreadable is the number of entries that could not be read. They are missing from it.
	// +optional
	Unreadable int64 `json:"unreadable,omitempty"`
	// AttributesUnreadable is the number of extended attributes, ACLs and capabilities that could not be read.
	// +optional
	AttributesUnreadable int64 `json:"attributesUnreadable,omitempty"`
	// Vanished is the number of entries that were deleted while it was made.
	// +optional
	Vanished int64 `json:"vanished,omitempty"`
	// Changed is the number of files that were written to while they were read, and so may be torn.
	// +optional
	Changed int64 `json:"changed,omitempty"`
	// PreviousSizeBytes is the size of the backup before this one of the same path.
	// +optional
	PreviousSizeBytes int64 `json:"previousSizeBytes,omitempty"`
}

// ComponentProgress is how far a running component is.
type ComponentProgress struct {
	// FilesDone is the number of files that are done.
	// +optional
	FilesDone int64 `json:"filesDone,omitempty"`
	// BytesDone is the number of bytes that are done.
	// +optional
	BytesDone int64 `json:"bytesDone,omitempty"`
}

// Snapshot is one backup of one target in one Repository.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=snap,categories=cairn
// +kubebuilder:printcolumn:name="Repository",type=string,JSONPath=`.spec.repository`
// +kubebuilder:printcolumn:name="Session",type=string,JSONPath=`.spec.session`
// +kubebuilder:printcolumn:name="Snapshot-Time",type=string,JSONPath=`.status.snapshotTime`
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.status.size`
// +kubebuilder:printcolumn:name="Integrity",type=boolean,JSONPath=`.status.integrity`,priority=1
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Snapshot struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec SnapshotSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status SnapshotStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (s *Snapshot) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (s *Snapshot) SetConditions(c []metav1.Condition) { s.Status.Conditions = c }

// SnapshotList is a list of Snapshots.
// +kubebuilder:object:root=true
type SnapshotList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Snapshot `json:"items"`
}
