package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SnapshotPhase is the progress of a Snapshot.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed
type SnapshotPhase string

// The phases of a Snapshot and of components.
const (
	SnapshotPending   SnapshotPhase = "Pending"
	SnapshotRunning   SnapshotPhase = "Running"
	SnapshotSucceeded SnapshotPhase = "Succeeded"
	SnapshotFailed    SnapshotPhase = "Failed"
)

// Terminal reports whether the phase never changes again.
func (p SnapshotPhase) Terminal() bool { return p == SnapshotSucceeded || p == SnapshotFailed }

// SnapshotType is how much of its target a Snapshot holds.
type SnapshotType string

// FullBackup is a Snapshot that can be restored by itself.
const FullBackup SnapshotType = "FullBackup"

// SnapshotSpec defines what the Snapshot is a backup of. It never changes, except for deletionPolicy and paused.
// +kubebuilder:validation:XValidation:rule="self.snapshotID == oldSelf.snapshotID && self.repository == oldSelf.repository && self.session == oldSelf.session && self.backupSession == oldSelf.backupSession && self.version == oldSelf.version && self.appRef == oldSelf.appRef",message="a Snapshot's spec never changes, except for deletionPolicy and paused"
type SnapshotSpec struct {
	// SnapshotID is a sortable identifier (ULID).
	// +required
	// +kubebuilder:validation:MaxLength=64
	SnapshotID string `json:"snapshotID"`

	// Type is FullBackup: every Snapshot can be restored by itself, although only new data was sent.
	// +optional
	// +kubebuilder:validation:Enum=FullBackup
	// +kubebuilder:default=FullBackup
	Type SnapshotType `json:"type,omitempty"`

	// Repository that contains it, in this namespace.
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

	// DeletionPolicy is what happens to the data in the backend when this Snapshot is deleted: Delete keeps it, WipeOut
	// removes it. Retention sets WipeOut on Snapshots that it removes.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Paused keeps retention from removing this Snapshot. The default is false.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// SnapshotLayoutVersion is the layout that SnapshotSpec.Version names.
const SnapshotLayoutVersion = "v1"

// SnapshotStatus is the progress and content of the Snapshot.
type SnapshotStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Partial and ClockSkewed; Reconciling while the Snapshot is made; Stalled when it failed.
	// Retained is False when retention removes it, and explains why.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase of the Snapshot.
	// +optional
	Phase SnapshotPhase `json:"phase,omitempty"`

	// SnapshotTime is when the last component was complete. Cairn moves it into the run if the clock of the mover's
	// node is wrong: then the Snapshot has the condition ClockSkewed. If a scan made the Snapshot, the time does not
	// lie after the next backup of the session, unless the backup itself took that long.
	// +optional
	SnapshotTime *metav1.Time `json:"snapshotTime,omitempty"`

	// LastUpdateTime is when Cairn last learned something new about the Snapshot as a whole.
	// +optional
	LastUpdateTime *metav1.Time `json:"lastUpdateTime,omitempty"`

	// Integrity is whether all data of its components was in the repository at the last check. The check does not read
	// the files back. Empty before the first check, and while a component was not checked. With driver
	// VolumeSnapshotter it is whether the VolumeSnapshots exist and can be used. A Snapshot whose integrity is false
	// does not count for the numbers of a RetentionPolicy.
	// +optional
	Integrity *bool `json:"integrity,omitempty"`

	// LastCheckTime is when it was last checked. The weekly maintenance of the repository does that. VolumeSnapshots
	// are checked every hour, and the time is updated once a day.
	// +optional
	LastCheckTime *metav1.Time `json:"lastCheckTime,omitempty"`

	// Size of all components, for example "12.222 MiB".
	// +optional
	Size string `json:"size,omitempty"`

	// TotalComponents is the number of components that belong to it.
	// +optional
	TotalComponents int32 `json:"totalComponents,omitempty"`

	// Components by name. The mover that makes a component writes its entry.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=2000
	Components map[string]Component `json:"components,omitempty"`

	// Records are the commits that contain the record of its removal, one for each Ledger. The record of its run lists
	// its content.
	// +optional
	// +listType=map
	// +listMapKey=ledger
	// +kubebuilder:validation:MaxItems=16
	Records []RecordStatus `json:"records,omitempty"`
}

// Component is one stream of data of a Snapshot, for example the content of a volume.
type Component struct {
	// Phase of the component.
	// +optional
	Phase SnapshotPhase `json:"phase,omitempty"`
	// Path in the volume that was backed up. Empty means the root.
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
	// Size that it restores to, for example "12.222 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Size string `json:"size,omitempty"`
	// SizeBytes is the same in bytes.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`
	// Uploaded is the amount of data that was sent to the backend, for example "1.500 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Uploaded string `json:"uploaded,omitempty"`
	// UploadedBytes is the same in bytes.
	// +optional
	UploadedBytes   int64 `json:"uploadedBytes,omitempty"`
	ComponentCounts `json:",inline"`
	// UnmatchedPatterns are patterns of the parameter exclude that matched nothing, 10 at most, each cut to 128
	// bytes. Where more than 100 components share one object, they are left out.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=128
	UnmatchedPatterns []string `json:"unmatchedPatterns,omitempty"`
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
	// Integrity is whether all its data was in the repository at the last check.
	// +optional
	Integrity *bool `json:"integrity,omitempty"`
	// Progress of a running component.
	// +optional
	Progress *ComponentProgress `json:"progress,omitempty"`
	// VolumeSnapshotterStats describes the VolumeSnapshot of the component, with driver VolumeSnapshotter.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	VolumeSnapshotterStats []VolumeSnapshotterStats `json:"volumeSnapshotterStats,omitempty"`
	// Reason for a failure, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Error explains what happened and what to do. It never contains the name of a user's file.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error string `json:"error,omitempty"`
}

// VolumeSnapshotterStats describes a VolumeSnapshot and what a volume made from it needs.
type VolumeSnapshotterStats struct {
	// PVCName is the name of the source claim.
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
	// VolumeSnapshotContentName is the name of the object that stands for the snapshot in the storage system.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	VolumeSnapshotContentName string `json:"volumeSnapshotContentName,omitempty"`
	// SnapshotHandle is the ID of the snapshot in the storage system. With the handle and the driver, another namespace
	// or cluster can use the snapshot.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	SnapshotHandle string `json:"snapshotHandle,omitempty"`
	// Driver is the CSI driver.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Driver string `json:"driver,omitempty"`
	// DeletionPolicy of the VolumeSnapshotContent when it was made. With Delete, whoever deletes the VolumeSnapshot or
	// its namespace deletes the data.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	DeletionPolicy string `json:"deletionPolicy,omitempty"`
	// ContentDeletionPolicy is what happens to the snapshot in the storage system when Cairn removes the
	// VolumeSnapshot: Delete or Retain.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	ContentDeletionPolicy string `json:"contentDeletionPolicy,omitempty"`
	// RestoreSize is the least size of a volume that is made from it, in bytes.
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

// ComponentCounts are the numbers of entries that were found while a component was read.
type ComponentCounts struct {
	// Files is the number of files.
	// +optional
	Files int64 `json:"files,omitempty"`
	// Directories is the number of directories, including the root.
	// +optional
	Directories int64 `json:"directories,omitempty"`
	// Symlinks is the number of symbolic links.
	// +optional
	Symlinks int64 `json:"symlinks,omitempty"`
	// HardLinks is the number of names of files that have several names.
	// +optional
	HardLinks int64 `json:"hardLinks,omitempty"`
	// Special is the number of FIFOs and devices. Devices are restored only on request.
	// +optional
	Special int64 `json:"special,omitempty"`
	// Sockets is the number of sockets that were left out: they hold no data, and the listening program makes its own.
	// +optional
	Sockets int64 `json:"sockets,omitempty"`
	// Unreadable is the number of entries that could not be read. The component does not contain them.
	// +optional
	Unreadable int64 `json:"unreadable,omitempty"`
	// AttributesUnreadable is the number of extended attributes, ACLs and capabilities that could not be read.
	// +optional
	AttributesUnreadable int64 `json:"attributesUnreadable,omitempty"`
	// Vanished is the number of entries that were deleted while the backup was made.
	// +optional
	Vanished int64 `json:"vanished,omitempty"`
	// Changed is the number of files that changed while they were read, and so may be torn.
	// +optional
	Changed int64 `json:"changed,omitempty"`
	// Restless is the number of directories that changed during each of up to three readings: the component can lack
	// what moved there meanwhile, although it was in the volume all the time.
	// +optional
	Restless int64 `json:"restless,omitempty"`
	// PreviousSizeBytes is the size of the previous backup of the same path.
	// +optional
	PreviousSizeBytes int64 `json:"previousSizeBytes,omitempty"`
}

// ComponentProgress is the progress of a running component.
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
// +kubebuilder:printcolumn:name="Integrity",type=boolean,JSONPath=`.status.integrity`
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
