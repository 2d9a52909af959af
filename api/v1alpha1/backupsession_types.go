package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BackupSessionPhase is the progress of a run.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Skipped
type BackupSessionPhase string

// The phases of a BackupSession and of its targets. Succeeded, Failed and Skipped are terminal: they never change
// again.
const (
	BackupSessionPending   BackupSessionPhase = "Pending"
	BackupSessionRunning   BackupSessionPhase = "Running"
	BackupSessionSucceeded BackupSessionPhase = "Succeeded"
	BackupSessionFailed    BackupSessionPhase = "Failed"
	BackupSessionSkipped   BackupSessionPhase = "Skipped"
)

// Terminal reports whether the phase never changes again.
func (p BackupSessionPhase) Terminal() bool {
	return p == BackupSessionSucceeded || p == BackupSessionFailed || p == BackupSessionSkipped
}

// BackupSessionSpec defines which session of which invoker runs. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a BackupSession's spec never changes: create another BackupSession"
type BackupSessionSpec struct {
	// Invoker is a BackupConfiguration or BackupBatch of this namespace.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.kind in ['BackupConfiguration', 'BackupBatch'] && has(self.apiGroup) && self.apiGroup == 'backup.cairn.dev'",message="the invoker must be a BackupConfiguration or BackupBatch of apiGroup backup.cairn.dev"
	Invoker TypedLocalObjectReference `json:"invoker"`

	// Session is the name of one of the invoker's sessions.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Session string `json:"session"`

	// ScheduledTime is the slot of the schedule that this run belongs to. The default is the time of creation.
	// +optional
	ScheduledTime *metav1.Time `json:"scheduledTime,omitempty"`

	// BackupTimeout ends the run when it takes longer. The default is the backupTimeout of the session.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout must be at least 1s"
	BackupTimeout *metav1.Duration `json:"backupTimeout,omitempty"`

	// AcceptShrink lets this run succeed however much of the last backup is gone: see maxShrinkPercent. Cairn compares
	// the runs after it with what this run backs up. The default is false.
	// +optional
	AcceptShrink bool `json:"acceptShrink,omitempty"`

	// RetryLeft is how many retries are left for the targets that fail. Each retry is another BackupSession. The
	// default is 0. Scheduled runs get maxRetry of the session's retryConfig.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	RetryLeft int32 `json:"retryLeft,omitempty"`

	// RetryOf names the BackupSession whose failed and skipped targets this run retries, with the policy that was
	// frozen for it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	RetryOf string `json:"retryOf,omitempty"`
}

// BackupSessionStatus is the progress and result of the run.
type BackupSessionStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready and Partial; Reconciling while the run is in progress; Stalled when it failed.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase of the run.
	// +optional
	Phase BackupSessionPhase `json:"phase,omitempty"`

	// Reason for the phase, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`

	// StartTime is when the run left Pending.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// CompletionTime is when it ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// BackupDeadline is when the timeout ends the run. It is missing if the run has no timeout.
	// +optional
	BackupDeadline *metav1.Time `json:"backupDeadline,omitempty"`

	// Duration of the run, rounded to seconds.
	// +optional
	Duration string `json:"duration,omitempty"`

	// TotalSnapshots is the number of Snapshots that the run is to make.
	// +optional
	TotalSnapshots *int32 `json:"totalSnapshots,omitempty"`

	// Snapshots of the run.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4000
	Snapshots []SnapshotStatusInfo `json:"snapshots,omitempty"`

	// Targets and their results.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Targets []BackupTargetStatus `json:"targets,omitempty"`

	// Hooks of the run.
	// +optional
	Hooks *HookStatuses `json:"hooks,omitempty"`

	// Resolved is what the run works with. It is written once, when the run starts, and never changes.
	// +optional
	// +structType=atomic
	Resolved *ResolvedBackup `json:"resolved,omitempty"`

	// NextRetry is when the failed and skipped targets are retried. It is removed if a later run makes the retry
	// unnecessary.
	// +optional
	NextRetry *metav1.Time `json:"nextRetry,omitempty"`

	// Retried is whether the BackupSession of the retry was created.
	// +optional
	Retried *bool `json:"retried,omitempty"`

	// RetentionPolicy is how far the RetentionPolicy of each Repository was applied after the run.
	// +optional
	// +listType=map
	// +listMapKey=repository
	// +kubebuilder:validation:MaxItems=4000
	RetentionPolicy []RetentionPolicyApplyStatus `json:"retentionPolicy,omitempty"`

	// Records are the commits that contain the record of the result, one for each Ledger.
	// +optional
	// +listType=map
	// +listMapKey=ledger
	// +kubebuilder:validation:MaxItems=16
	Records []RecordStatus `json:"records,omitempty"`
}

// SnapshotStatusInfo is the summary of a Snapshot in its BackupSession.
type SnapshotStatusInfo struct {
	// Name of the Snapshot.
	Name string `json:"name"`
	// UID of the Snapshot. A Snapshot that is deleted during the run is not made again.
	// +optional
	UID types.UID `json:"uid,omitempty"`
	// Phase of the Snapshot.
	// +optional
	Phase SnapshotPhase `json:"phase,omitempty"`
	// AppRef is the target.
	// +optional
	AppRef *TypedObjectReference `json:"appRef,omitempty"`
	// Repository that contains it.
	// +optional
	Repository string `json:"repository,omitempty"`
}

// BackupTargetStatus is the progress and result of one target of a run.
type BackupTargetStatus struct {
	// Name of the target in the BackupBatch, or the name of the BackupConfiguration.
	Name string `json:"name"`
	// AppRef is the target.
	// +optional
	AppRef TypedObjectReference `json:"appRef,omitempty"`
	// Configuration that the target's Jobs are built from.
	// +optional
	Configuration string `json:"configuration,omitempty"`
	// Phase of the target.
	// +optional
	Phase BackupSessionPhase `json:"phase,omitempty"`
	// Reason for the phase, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Message explains what happened and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// Size of the backed-up data, for example "12.222 MiB".
	// +optional
	Size string `json:"size,omitempty"`
	// Uploaded is the amount of data that was sent to the backend.
	// +optional
	Uploaded string `json:"uploaded,omitempty"`
	// StartTime is when the run started with the target.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when the target and its hooks ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Duration between startTime and completionTime, rounded to seconds.
	// +optional
	Duration string `json:"duration,omitempty"`
	// CopiedAt is when the last copy or VolumeSnapshot of its volumes was made, if hooks before the work have run.
	// +optional
	CopiedAt *metav1.Time `json:"copiedAt,omitempty"`
	// Hooks of the target. While its postBackup hooks run, reason and message already hold the result of the backup.
	// +optional
	Hooks *HookStatuses `json:"hooks,omitempty"`
}

// RecordStatus is where a result was recorded.
type RecordStatus struct {
	// Ledger is <namespace>/<name>.
	Ledger string `json:"ledger"`
	// Commit that contains the record. Empty while a Ledger that has moved to another branch writes the record again.
	// +optional
	Commit string `json:"commit,omitempty"`
}

// BackupSession is one run of one session of a BackupConfiguration or BackupBatch.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bsess,categories=cairn
// +kubebuilder:printcolumn:name="Invoker-Type",type=string,JSONPath=`.spec.invoker.kind`
// +kubebuilder:printcolumn:name="Invoker-Name",type=string,JSONPath=`.spec.invoker.name`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.status.duration`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a BackupSession must have at most 63 characters"
type BackupSession struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BackupSessionSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status BackupSessionStatus `json:"status,omitempty"`
}

// Ended reports whether the object has its final phase and so never changes again.
func (s *BackupSession) Ended() bool { return s.Status.Phase.Terminal() }

// Frozen reports whether status.resolved holds what the object works with.
func (s *BackupSession) Frozen() bool { return s.Status.Resolved != nil }

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (s *BackupSession) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (s *BackupSession) SetConditions(c []metav1.Condition) { s.Status.Conditions = c }

// BackupSessionList is a list of BackupSessions.
// +kubebuilder:object:root=true
type BackupSessionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackupSession `json:"items"`
}
