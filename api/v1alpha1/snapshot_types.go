package v1alpha1

import (
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

// SnapshotSpec says what the Snapshot is of. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a Snapshot's spec never changes"
type SnapshotSpec struct {
	// SnapshotID is a sortable identifier (ULID).
	// +required
	// +kubebuilder:validation:MaxLength=64
	SnapshotID string `json:"snapshotID"`

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
}

// SnapshotLayoutVersion is the layout that SnapshotSpec.Version names.
const SnapshotLayoutVersion = "v1"

// SnapshotStatus is what the Snapshot holds.
type SnapshotStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, and while it is made Reconciling; Stalled when it failed.
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
	UploadedBytes int64 `json:"uploadedBytes,omitempty"`
	// Files is the number of files in it.
	// +optional
	Files int64 `json:"files,omitempty"`
	// Unreadable is the number of entries that could not be read. Such a component has failed.
	// +optional
	Unreadable int64 `json:"unreadable,omitempty"`
	// Changed is the number of files that were written to while they were read.
	// +optional
	Changed int64 `json:"changed,omitempty"`
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
	// Progress while it runs.
	// +optional
	Progress *ComponentProgress `json:"progress,omitempty"`
	// Reason of a failure, one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Error says what happened and what to do. It never holds the name of a user's file.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error string `json:"error,omitempty"`
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
