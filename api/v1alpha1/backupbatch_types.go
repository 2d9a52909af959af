package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupBatchSpec defines which targets are backed up together as one application.
type BackupBatchSpec struct {
	// Backends that the sessions back up to. The default is the default BackupStorage of the namespace, else of the
	// cluster.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Backends []BackendReference `json:"backends,omitempty"`

	// Targets of the application, all in this namespace. Each object that a selector finds counts as a target. At most
	// 1,000 targets are allowed.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	Targets []BatchTarget `json:"targets"`

	// Sessions of the batch, each with its schedule and its targets.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Sessions []BackupBatchSession `json:"sessions"`

	// Paused stops the schedules of all sessions. Runs in progress and their retries go on, and runs can still be
	// started by hand. The default is false.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// ExecutionOrder is the order in which the targets of a batch are handled.
// +kubebuilder:validation:Enum=Parallel;Sequential
type ExecutionOrder string

// The values of ExecutionOrder.
const (
	// ExecutionParallel handles several targets at once.
	ExecutionParallel ExecutionOrder = "Parallel"
	// ExecutionSequential handles one target after the other.
	ExecutionSequential ExecutionOrder = "Sequential"
)

// BackupBatchSession is one session of a BackupBatch.
// +kubebuilder:validation:XValidation:rule="!has(self.maxParallel) || !has(self.executionOrder) || self.executionOrder == 'Parallel'",message="maxParallel needs executionOrder Parallel: leave it out, Sequential backs up one target at a time"
type BackupBatchSession struct {
	SessionConfig `json:",inline"`

	// ExecutionOrder of the targets. Parallel backs up several targets at once. Sequential backs up one after the
	// other, in the order of the field targets. A target that fails does not stop the targets after it.
	// +optional
	// +kubebuilder:default=Parallel
	ExecutionOrder ExecutionOrder `json:"executionOrder,omitempty"`

	// MaxParallel is how many targets are backed up at once, hooks included. The other targets wait and start in the
	// order of the field targets. The default is all targets. Only for executionOrder Parallel.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxParallel *int32 `json:"maxParallel,omitempty"`

	// Repositories is a template for the targets of this session that name no repositories. Each of these targets gets
	// one repository for each entry, with the name <name>-<target> and the directory <directory>/<target>. Fields that
	// are left out are inferred for each target.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []RepositoryInfo `json:"repositories,omitempty"`

	// Targets of this session. At most 500 are allowed, including those that selectors find.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	Targets []BatchSessionTarget `json:"targets"`
}

// BatchSessionTarget defines how a session backs up one target.
type BatchSessionTarget struct {
	// Name of an entry of spec.targets. If that entry has a selector, the settings here apply to every object that it
	// finds.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Addon defines how the target's data is moved. The default depends on the kind of the target, as in a
	// BackupConfiguration.
	// +optional
	Addon *AddonInfo `json:"addon,omitempty"`

	// Executor that moves the data: a Job for each run, or a Sidecar in the pods of a Deployment, StatefulSet or
	// DaemonSet. Adding or removing the sidecar replaces the pods of the workload. It is removed when no session asks
	// for it. The default is the executor of the Addon's task.
	// +optional
	Executor Executor `json:"executor,omitempty"`

	CopySettings `json:",inline"`

	// Repositories that the target is backed up to. For a target with a selector they are a template, like the
	// session's repositories. The default is the session's repositories, else one repository named like the target's
	// BackupConfiguration, <batch>-<target>.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []RepositoryInfo `json:"repositories,omitempty"`

	// BackupTimeout ends the backup of this target and its preBackup hooks. It counts from the start of the target. The
	// other targets go on. The backupTimeout of the session ends the target, too. By default nothing else does.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout must be at least 1s"
	BackupTimeout *metav1.Duration `json:"backupTimeout,omitempty"`

	// Hooks that run before and after the backup of this target. They run between the preBackup and postBackup hooks of
	// the session.
	// +optional
	Hooks *TargetHooks `json:"hooks,omitempty"`
}

// BackupBatchStatus is the observed state of the batch.
type BackupBatchStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready and ValidationPassed; Protected if a session has a schedule; TargetsOverlap,
	// SelectorFindsNothing, RepositoriesRetained, Reconciling and Stalled while they matter.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase is Ready, NotReady or Invalid.
	// +optional
	// +kubebuilder:validation:Enum=Ready;NotReady;Invalid
	Phase string `json:"phase,omitempty"`

	// Targets of the batch and their state: one entry for each object that a selector finds.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	Targets []BatchTargetStatus `json:"targets,omitempty"`

	// Dependencies of the targets' BackupConfigurations and whether they exist. At most 1,000 are listed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Dependencies []ResourceFoundStatus `json:"dependencies,omitempty"`

	// Sessions and the state of their schedules.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Sessions []SessionStatus `json:"sessions,omitempty"`

	RetainedRepositories `json:",inline"`

	// LastHandledTrigger is the last value of the annotation backup.cairn.dev/trigger that was handled, or the digest
	// of a value of more than 253 bytes.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	LastHandledTrigger string `json:"lastHandledTrigger,omitempty"`

	// HandledTriggers counts the values of the annotation that were handled. The name of the run that the next value
	// starts depends on it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	HandledTriggers int64 `json:"handledTriggers,omitempty"`
}

// BatchTargetStatus is the state of one target of a BackupBatch.
type BatchTargetStatus struct {
	// Name of the target. An object that a selector found has the name <target>-<kind>-<object>, in lower case.
	Name string `json:"name"`
	// FoundBy is the entry of spec.targets whose selector found the object. Empty if the entry names the object.
	// +optional
	FoundBy string `json:"foundBy,omitempty"`
	// AppRef of the target.
	// +optional
	AppRef TypedObjectReference `json:"appRef,omitempty"`
	// Configuration is the name of the target's BackupConfiguration.
	// +optional
	Configuration string `json:"configuration,omitempty"`
	// Phase of that BackupConfiguration.
	// +optional
	Phase string `json:"phase,omitempty"`
	// Reason why it is not ready.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// BackupBatch is the backup policy of an application of several targets. Cairn makes one BackupConfiguration for each
// target.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bb,categories=cairn
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Paused",type=boolean,JSONPath=`.spec.paused`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BackupBatch struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BackupBatchSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status BackupBatchStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (b *BackupBatch) GetConditions() []metav1.Condition { return b.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (b *BackupBatch) SetConditions(c []metav1.Condition) { b.Status.Conditions = c }

// BackupBatchList is a list of BackupBatches.
// +kubebuilder:object:root=true
type BackupBatchList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackupBatch `json:"items"`
}
