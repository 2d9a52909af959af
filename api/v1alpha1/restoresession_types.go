package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RestoreSessionPhase is how far a restore is.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Invalid;Skipped
type RestoreSessionPhase string

// The phases of a RestoreSession. Succeeded, Failed, Invalid and Skipped are terminal: they never change again.
const (
	RestoreSessionPending   RestoreSessionPhase = "Pending"
	RestoreSessionRunning   RestoreSessionPhase = "Running"
	RestoreSessionSucceeded RestoreSessionPhase = "Succeeded"
	RestoreSessionFailed    RestoreSessionPhase = "Failed"
	RestoreSessionInvalid   RestoreSessionPhase = "Invalid"
	RestoreSessionSkipped   RestoreSessionPhase = "Skipped"
)

// Terminal says whether the phase never changes again.
func (p RestoreSessionPhase) Terminal() bool {
	switch p {
	case RestoreSessionSucceeded, RestoreSessionFailed, RestoreSessionInvalid, RestoreSessionSkipped:
		return true
	default:
		return false
	}
}

// LatestSnapshot is the value of RestoreDataSource.Snapshot that means the newest one that succeeded.
const LatestSnapshot = "latest"

// RestoreSessionSpec says what is restored where to. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a RestoreSession's spec never changes: create another one"
type RestoreSessionSpec struct {
	// Target is a PersistentVolumeClaim of this namespace that is empty and in use by no pod.
	// +required
	// +kubebuilder:validation:XValidation:rule="has(self.kind) && self.kind == 'PersistentVolumeClaim' && (!has(self.apiGroup) || self.apiGroup == '')",message="the target of a restore is a PersistentVolumeClaim"
	// +kubebuilder:validation:XValidation:rule="!has(self.namespace) || self.namespace == ''",message="the target of a restore is in the RestoreSession's namespace: leave the namespace out"
	Target *TypedObjectReference `json:"target"`

	// DataSource is the Snapshot that is restored.
	// +required
	DataSource *RestoreDataSource `json:"dataSource"`

	// Addon says how the data is moved. The default is pvc-addon with the task logical-backup-restore.
	// +optional
	Addon *AddonInfo `json:"addon,omitempty"`

	// RestoreTimeout ends a restore that takes longer.
	// +optional
	// +kubebuilder:default="6h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout is at least 1s"
	RestoreTimeout *metav1.Duration `json:"restoreTimeout,omitempty"`
}

// RestoreDataSource names a Snapshot of this namespace.
// +kubebuilder:validation:XValidation:rule="self.snapshot != 'latest' || has(self.repository)",message="snapshot: latest needs a repository"
type RestoreDataSource struct {
	// Repository that holds the Snapshot. Needed with snapshot: latest.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Repository string `json:"repository,omitempty"`

	// Snapshot by name, or latest: the newest one of the repository that succeeded.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Snapshot string `json:"snapshot"`

	// Components to restore. Needed when the Snapshot has several: a PersistentVolumeClaim takes one.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1
	Components []string `json:"components,omitempty"`
}

// RestoreSessionStatus is how the restore went.
type RestoreSessionStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, ValidationPassed, Partial, and while it runs Reconciling; Stalled when it failed.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase of the restore.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`

	// Reason of the phase, one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`

	// TargetFound says whether the target exists.
	// +optional
	TargetFound *bool `json:"targetFound,omitempty"`

	// StartTime is when the restore left Pending.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// CompletionTime is when it ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// RestoreDeadline is when it will be ended.
	// +optional
	RestoreDeadline *metav1.Time `json:"restoreDeadline,omitempty"`

	// Duration of the restore, rounded to seconds.
	// +optional
	Duration string `json:"duration,omitempty"`

	// TotalComponents is the number of components that are restored.
	// +optional
	TotalComponents int32 `json:"totalComponents,omitempty"`

	// Components by name. Each is written by the mover that restores it.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=2000
	Components map[string]RestoredComponent `json:"components,omitempty"`

	// Resolved is what the restore works with. It is written once, when the restore starts.
	// +optional
	Resolved *ResolvedRestore `json:"resolved,omitempty"`

	// Records are the commits that hold the result, one a Ledger.
	// +optional
	// +listType=map
	// +listMapKey=ledger
	// +kubebuilder:validation:MaxItems=16
	Records []RecordStatus `json:"records,omitempty"`
}

// RestoredComponent is one component of a restore.
type RestoredComponent struct {
	// Phase of the component.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`
	// ID of the data in the repository.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id,omitempty"`
	// Size of what was written, for example "12.222 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Size string `json:"size,omitempty"`
	// SizeBytes is the same in bytes.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`
	// Files is the number of files that were written.
	// +optional
	Files int64 `json:"files,omitempty"`
	// OwnersNotRestored is the number of entries whose owner the mover was not allowed to set.
	// +optional
	OwnersNotRestored int64 `json:"ownersNotRestored,omitempty"`
	// AttributesNotRestored is the number of entries of which another attribute could not be set.
	// +optional
	AttributesNotRestored int64 `json:"attributesNotRestored,omitempty"`
	// StartTime is when writing began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when everything was written.
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

// RestoreSession is one restore of one target.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=restore,categories=cairn
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.target.name`
// +kubebuilder:printcolumn:name="Snapshot",type=string,JSONPath=`.spec.dataSource.snapshot`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.status.duration`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a RestoreSession has at most 63 characters"
type RestoreSession struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RestoreSessionSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status RestoreSessionStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (s *RestoreSession) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (s *RestoreSession) SetConditions(c []metav1.Condition) { s.Status.Conditions = c }

// RestoreSessionList is a list of RestoreSessions.
// +kubebuilder:object:root=true
type RestoreSessionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RestoreSession `json:"items"`
}
