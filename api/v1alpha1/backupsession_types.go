package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupSessionPhase is how far a run is.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Skipped
type BackupSessionPhase string

// The phases of a BackupSession and of its targets. Succeeded, Failed and Skipped are terminal: they never change again.
const (
	BackupSessionPending   BackupSessionPhase = "Pending"
	BackupSessionRunning   BackupSessionPhase = "Running"
	BackupSessionSucceeded BackupSessionPhase = "Succeeded"
	BackupSessionFailed    BackupSessionPhase = "Failed"
	BackupSessionSkipped   BackupSessionPhase = "Skipped"
)

// Terminal says whether the phase never changes again.
func (p BackupSessionPhase) Terminal() bool {
	return p == BackupSessionSucceeded || p == BackupSessionFailed || p == BackupSessionSkipped
}

// BackupSessionSpec says which session of which policy object runs. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a BackupSession's spec never changes: create another one"
type BackupSessionSpec struct {
	// Invoker is the BackupConfiguration or BackupBatch of this namespace.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.kind in ['BackupConfiguration', 'BackupBatch'] && has(self.apiGroup) && self.apiGroup == 'backup.cairn.dev'",message="the invoker is a BackupConfiguration or BackupBatch of apiGroup backup.cairn.dev"
	Invoker TypedLocalObjectReference `json:"invoker"`

	// Session is the name of one of the invoker's sessions.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Session string `json:"session"`

	// ScheduledTime is the slot this run belongs to. The default is the time of creation.
	// +optional
	ScheduledTime *metav1.Time `json:"scheduledTime,omitempty"`

	// BackupTimeout ends the run when it takes longer. The default is that of the session.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout is at least 1s"
	BackupTimeout *metav1.Duration `json:"backupTimeout,omitempty"`

	// RetryLeft is how often what failed of the run is tried again, each time by another BackupSession. The default is never:
	// a schedule sets what its session's retryConfig says.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	RetryLeft int32 `json:"retryLeft,omitempty"`

	// RetryOf names the BackupSession whose failed targets this one tries again, with the policy that was in force then.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	RetryOf string `json:"retryOf,omitempty"`
}

// BackupSessionStatus is how the run went.
type BackupSessionStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Partial, and while it runs Reconciling; Stalled when it failed.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase of the run.
	// +optional
	Phase BackupSessionPhase `json:"phase,omitempty"`

	// Reason of the phase, one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`

	// StartTime is when the run left Pending.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// CompletionTime is when it ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// BackupDeadline is when it will be ended.
	// +optional
	BackupDeadline *metav1.Time `json:"backupDeadline,omitempty"`

	// Duration of the run, rounded to seconds.
	// +optional
	Duration string `json:"duration,omitempty"`

	// TotalSnapshots is the number of Snapshots the run is to make.
	// +optional
	TotalSnapshots *int32 `json:"totalSnapshots,omitempty"`

	// Snapshots of the run.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4000
	Snapshots []SnapshotStatusInfo `json:"snapshots,omitempty"`

	// Targets and how each ended.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Targets []BackupTargetStatus `json:"targets,omitempty"`

	// Hooks of the run.
	// +optional
	Hooks *HookStatuses `json:"hooks,omitempty"`

	// Resolved is what the run works with. It is written once, when the run starts.
	// +optional
	// +structType=atomic
	Resolved *ResolvedBackup `json:"resolved,omitempty"`

	// NextRetry is when what failed is tried again. It is gone where a later run made that needless.
	// +optional
	NextRetry *metav1.Time `json:"nextRetry,omitempty"`

	// Retried says whether the BackupSession that tries again was made.
	// +optional
	Retried *bool `json:"retried,omitempty"`

	// RetentionPolicy says for each Repository of the run how far its RetentionPolicy was applied afterwards.
	// +optional
	// +listType=map
	// +listMapKey=repository
	// +kubebuilder:validation:MaxItems=4000
	RetentionPolicy []RetentionPolicyApplyStatus `json:"retentionPolicy,omitempty"`

	// Records are the commits that hold the result, one a Ledger.
	// +optional
	// +listType=map
	// +listMapKey=ledger
	// +kubebuilder:validation:MaxItems=16
	Records []RecordStatus `json:"records,omitempty"`
}

// SnapshotStatusInfo is the short form of a Snapshot in its BackupSession.
type SnapshotStatusInfo struct {
	// Name of the Snapshot.
	Name string `json:"name"`
	// Phase of the Snapshot.
	// +optional
	Phase SnapshotPhase `json:"phase,omitempty"`
	// AppRef is the target.
	// +optional
	AppRef *TypedObjectReference `json:"appRef,omitempty"`
	// Repository it lies in.
	// +optional
	Repository string `json:"repository,omitempty"`
}

// BackupTargetStatus is how one target of a run ended.
type BackupTargetStatus struct {
	// Name of the target: the batch's, or the BackupConfiguration's own.
	Name string `json:"name"`
	// AppRef is the target.
	// +optional
	AppRef TypedObjectReference `json:"appRef,omitempty"`
	// Configuration the target's Jobs were built from.
	// +optional
	Configuration string `json:"configuration,omitempty"`
	// Phase of the target.
	// +optional
	Phase BackupSessionPhase `json:"phase,omitempty"`
	// Reason of the phase, one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Message says what happened and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// Size of what was backed up, for example "12.222 MiB".
	// +optional
	Size string `json:"size,omitempty"`
	// Uploaded is what had to be sent.
	// +optional
	Uploaded string `json:"uploaded,omitempty"`
	// StartTime is when the target left Pending: the run had come to it.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when it ended, with its hooks.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Duration between these, rounded to seconds.
	// +optional
	Duration string `json:"duration,omitempty"`
	// Hooks of the target. While its postBackup hooks run, reason and message say already what became of the backup.
	// +optional
	Hooks *HookStatuses `json:"hooks,omitempty"`
}

// RecordStatus is where a result was recorded.
type RecordStatus struct {
	// Ledger is <namespace>/<name>.
	Ledger string `json:"ledger"`
	// Commit that holds the record.
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
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a BackupSession has at most 63 characters"
type BackupSession struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BackupSessionSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status BackupSessionStatus `json:"status,omitempty"`
}

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
