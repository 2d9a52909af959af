package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RestoreBatchStatus is the progress and result of the restore.
type RestoreBatchStatus struct {
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

	// Phase of the restore. It is Succeeded only if all targets are, with dataSource.mixed also if an identical
	// RestoreBatch of its name filled some of them before, and Skipped if it filled all of them. It is Unknown if
	// everything was written or made, but not everything could be confirmed.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`

	// Reason for the phase, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`

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

	// RestorePoint is the BackupSession that began the restore point. Empty if the targets come from different restore
	// points, or if an identical RestoreBatch filled some of them before.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RestorePoint string `json:"restorePoint,omitempty"`

	// Targets and their results.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=500
	Targets []RestoreTargetStatus `json:"targets,omitempty"`

	// Hooks of the restore.
	// +optional
	Hooks *HookStatuses `json:"hooks,omitempty"`

	// ScaledDown is the state of the workloads of spec.scaleDown.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	ScaledDown []ScaledWorkload `json:"scaledDown,omitempty"`

	// Resolved is what the restore works with. It is written once, when the restore starts, and never changes.
	// +optional
	Resolved *ResolvedRestoreBatch `json:"resolved,omitempty"`

	// Records are the commits that contain the record of the result, one for each Ledger.
	// +optional
	// +listType=map
	// +listMapKey=ledger
	// +kubebuilder:validation:MaxItems=16
	Records []RecordStatus `json:"records,omitempty"`
}

// RestoreTargetStatus is the progress and result of the restore of one target.
type RestoreTargetStatus struct {
	// Name of the target.
	Name string `json:"name"`
	// RestoreSession that restores the target. Empty until it is created.
	// +optional
	RestoreSession string `json:"restoreSession,omitempty"`
	// Phase of the target.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`
	// Reason for the phase, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Message explains what happened and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// Snapshot that is restored. Empty if the target was skipped.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
	// RestorePoint is the BackupSession that began the Snapshot's restore point. Empty if the target was skipped.
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
	// SpecDigest is the digest of the RestoreBatch's spec. The stamps of its targets are computed from it.
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
	// RestoreSession that restores the target.
	RestoreSession string `json:"restoreSession"`
	// Target that is restored into. Empty if the restore makes new claims.
	// +optional
	Target *TypedObjectReference `json:"target,omitempty"`
	// Repository that contains the Snapshot.
	Repository string `json:"repository"`
	// Snapshot that is restored.
	Snapshot string `json:"snapshot"`
	// RestorePoint is the BackupSession that began the Snapshot's restore point.
	RestorePoint string `json:"restorePoint"`
}

// RestoreBatch is one restore of several targets of a BackupBatch, from one restore point. Cairn makes one
// RestoreSession for each target.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rb,path=restorebatches,categories=cairn
// +kubebuilder:printcolumn:name="Batch",type=string,JSONPath=`.spec.dataSource.backupBatch`
// +kubebuilder:printcolumn:name="Restore-Point",type=string,JSONPath=`.status.restorePoint`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.status.duration`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a RestoreBatch must have at most 63 characters"
type RestoreBatch struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RestoreBatchSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status RestoreBatchStatus `json:"status,omitempty"`
}

// Ended reports whether the object has its final phase and so never changes again.
func (b *RestoreBatch) Ended() bool { return b.Status.Phase.Terminal() }

// Frozen reports whether status.resolved holds what the object works with.
func (b *RestoreBatch) Frozen() bool { return b.Status.Resolved != nil }

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
