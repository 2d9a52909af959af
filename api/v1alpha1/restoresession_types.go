package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RestoreSessionPhase is how far a restore is.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Invalid;Skipped;Unknown
type RestoreSessionPhase string

// The phases of a RestoreSession. Succeeded, Failed, Invalid, Skipped and Unknown are terminal: they never change again.
// Unknown means that all was written, and that what was asked for to verify it could not be done.
const (
	RestoreSessionPending   RestoreSessionPhase = "Pending"
	RestoreSessionRunning   RestoreSessionPhase = "Running"
	RestoreSessionSucceeded RestoreSessionPhase = "Succeeded"
	RestoreSessionFailed    RestoreSessionPhase = "Failed"
	RestoreSessionInvalid   RestoreSessionPhase = "Invalid"
	RestoreSessionSkipped   RestoreSessionPhase = "Skipped"
	RestoreSessionUnknown   RestoreSessionPhase = "Unknown"
)

// Terminal says whether the phase never changes again.
func (p RestoreSessionPhase) Terminal() bool {
	switch p {
	case RestoreSessionSucceeded, RestoreSessionFailed, RestoreSessionInvalid, RestoreSessionSkipped, RestoreSessionUnknown:
		return true
	default:
		return false
	}
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

	// Attempt is the number of the attempt, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`

	// Retried is the number of attempts that were made because of retryConfig.
	// +optional
	Retried int32 `json:"retried,omitempty"`

	// NextRetry is when the next attempt begins.
	// +optional
	NextRetry *metav1.Time `json:"nextRetry,omitempty"`

	// Dependencies of the restore, and whether they exist.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Dependencies []ResourceFoundStatus `json:"dependencies,omitempty"`

	// PausedBackups are the policies that back up the target: a run of theirs is Skipped while the restore goes on.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	PausedBackups []TypedObjectReference `json:"pausedBackups,omitempty"`

	// TotalComponents is the number of components that are restored.
	// +optional
	TotalComponents int32 `json:"totalComponents,omitempty"`

	// Components by name. Each is written by the mover that restores it.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=2000
	Components map[string]RestoredComponent `json:"components,omitempty"`

	// Hooks of the restore.
	// +optional
	Hooks *HookStatuses `json:"hooks,omitempty"`

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
