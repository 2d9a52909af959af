package v1alpha1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RestoreSessionPhase is the progress of a restore.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Invalid;Skipped;Unknown
type RestoreSessionPhase string

// The phases of a RestoreSession. Succeeded, Failed, Invalid, Skipped and Unknown are terminal: they never change
// again. Unknown means that everything was written or made, but not everything could be confirmed: the data could not
// be verified, or a new claim still waits for its first pod.
const (
	RestoreSessionPending   RestoreSessionPhase = "Pending"
	RestoreSessionRunning   RestoreSessionPhase = "Running"
	RestoreSessionSucceeded RestoreSessionPhase = "Succeeded"
	RestoreSessionFailed    RestoreSessionPhase = "Failed"
	RestoreSessionInvalid   RestoreSessionPhase = "Invalid"
	RestoreSessionSkipped   RestoreSessionPhase = "Skipped"
	RestoreSessionUnknown   RestoreSessionPhase = "Unknown"
)

// Terminal reports whether the phase never changes again.
func (p RestoreSessionPhase) Terminal() bool {
	switch p {
	case RestoreSessionSucceeded, RestoreSessionFailed, RestoreSessionInvalid, RestoreSessionSkipped,
		RestoreSessionUnknown:
		return true
	default:
		return false
	}
}

// RestoreSessionStatus is the progress and result of the restore.
type RestoreSessionStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, ValidationPassed and Partial; Reconciling while the restore is in progress; Stalled when it
	// failed.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase of the restore.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`

	// Reason for the phase, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`

	// TargetFound is whether the target exists.
	// +optional
	TargetFound *bool `json:"targetFound,omitempty"`

	// StartTime is when the restore left Pending.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// CompletionTime is when it ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// RestoreDeadline is when the timeout ends the restore. It is missing if the restore has no timeout.
	// +optional
	RestoreDeadline *metav1.Time `json:"restoreDeadline,omitempty"`

	// Duration of the restore, rounded to seconds.
	// +optional
	Duration string `json:"duration,omitempty"`

	// Attempt is the number of the attempt, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`

	// Retried is the number of attempts that retryConfig caused.
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

	// PausedBackups are the policies that back up the target. Their runs are Skipped while the restore is in progress.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	PausedBackups []TypedObjectReference `json:"pausedBackups,omitempty"`

	// TotalComponents is the number of components that are restored.
	// +optional
	TotalComponents int32 `json:"totalComponents,omitempty"`

	// Components by name. The mover that restores a component writes its entry.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=2000
	Components map[string]RestoredComponent `json:"components,omitempty"`

	// Hooks of the restore.
	// +optional
	Hooks *HookStatuses `json:"hooks,omitempty"`

	// Resolved is what the restore works with. It is written once, when the restore starts, and never changes.
	// +optional
	Resolved *ResolvedRestore `json:"resolved,omitempty"`

	// Records are the commits that contain the record of the result, one for each Ledger.
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
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a RestoreSession must have at most 63 characters"
type RestoreSession struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RestoreSessionSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status RestoreSessionStatus `json:"status,omitempty"`
}

// Ended reports whether the object has its final phase and so never changes again.
func (s *RestoreSession) Ended() bool { return s.Status.Phase.Terminal() }

// Frozen reports whether status.resolved holds what the object works with.
func (s *RestoreSession) Frozen() bool { return s.Status.Resolved != nil }

// Overwrites returns how the restore treats existing files in its volumes, or "" if the volumes must be empty.
func (s *RestoreSession) Overwrites() OverwritePolicy {
	if s.Spec.Confirm == "" {
		return ""
	}
	return cmp.Or(s.Spec.OverwritePolicy, OverwriteAlways)
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
