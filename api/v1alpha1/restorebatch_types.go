package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RestoreBatchStatus is how the restore went.
type RestoreBatchStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, ValidationPassed, Partial, and while it runs Reconciling; Stalled when it failed.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase of the restore. It is Succeeded only where all targets are, Skipped where an equal RestoreBatch has filled all of them
	// before, and Unknown where what was asked for to verify a target could not be done.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`

	// Reason of the phase, one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`

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

	// RestorePoint is the BackupSession that began the restore point. Empty where the targets are of different ones.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RestorePoint string `json:"restorePoint,omitempty"`

	// Targets and how each ended.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=500
	Targets []RestoreTargetStatus `json:"targets,omitempty"`

	// Hooks of the restore.
	// +optional
	Hooks *HookStatuses `json:"hooks,omitempty"`

	// ScaledDown are the workloads of spec.scaleDown.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	ScaledDown []ScaledWorkload `json:"scaledDown,omitempty"`

	// Resolved is what the restore works with. It is written once, when the restore starts.
	// +optional
	Resolved *ResolvedRestoreBatch `json:"resolved,omitempty"`

	// Records are the commits that hold the result, one a Ledger.
	// +optional
	// +listType=map
	// +listMapKey=ledger
	// +kubebuilder:validation:MaxItems=16
	Records []RecordStatus `json:"records,omitempty"`
}

// RestoreTargetStatus is how the restore of one target ended.
type RestoreTargetStatus struct {
	// Name of the target.
	Name string `json:"name"`
	// RestoreSession that restores it. Empty before it is made.
	// +optional
	RestoreSession string `json:"restoreSession,omitempty"`
	// Phase of the target.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`
	// Reason of the phase, one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Message says what happened and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// Snapshot that is restored.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
	// RestorePoint is the BackupSession that began the Snapshot's restore point.
	// +optional
	RestorePoint string `json:"restorePoint,omitempty"`
}

// ResolvedRestoreBatch is everything that a restore of several targets works with, frozen when it starts.
type ResolvedRestoreBatch struct {
	// Policy that was in force.
	// +optional
	Policy ResolvedPolicy `json:"policy,omitempty"`
	// Timeout of the restore.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// SpecDigest is the digest of the RestoreBatch's spec, of which the digests are made that its targets are stamped with.
	// +optional
	SpecDigest string `json:"specDigest,omitempty"`
	// Namespace of the Snapshots.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Targets in the order of the spec.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=500
	Targets []ResolvedRestoreTarget `json:"targets,omitempty"`
	// Hooks of the restore with their templates. Only Cairn writes them.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Hooks *ResolvedHooks `json:"hooks,omitempty"`
}

// ResolvedRestoreTarget is one target as it is restored.
type ResolvedRestoreTarget struct {
	// Name of the target.
	Name string `json:"name"`
	// RestoreSession that restores it.
	RestoreSession string `json:"restoreSession"`
	// Target that is restored into. Without it the restore makes new claims.
	// +optional
	Target *TypedObjectReference `json:"target,omitempty"`
	// Repository that the Snapshot lies in.
	Repository string `json:"repository"`
	// Snapshot that is restored.
	Snapshot string `json:"snapshot"`
	// RestorePoint is the BackupSession that began the Snapshot's restore point.
	RestorePoint string `json:"restorePoint"`
}

// RestoreBatch is one restore of several targets of a BackupBatch, from one restore point. It is expanded into one RestoreSession
// a target.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rb,path=restorebatches,categories=cairn
// +kubebuilder:printcolumn:name="Batch",type=string,JSONPath=`.spec.dataSource.backupBatch`
// +kubebuilder:printcolumn:name="Restore-Point",type=string,JSONPath=`.status.restorePoint`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.status.duration`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a RestoreBatch has at most 63 characters"
type RestoreBatch struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RestoreBatchSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status RestoreBatchStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (b *RestoreBatch) GetConditions() []metav1.Condition { return b.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (b *RestoreBatch) SetConditions(c []metav1.Condition) { b.Status.Conditions = c }

// RestoreBatchList is a list of RestoreBatches.
// +kubebuilder:object:root=true
type RestoreBatchList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RestoreBatch `json:"items"`
}
