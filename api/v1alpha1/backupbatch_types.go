package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupBatchSpec says which targets are backed up together as one application.
type BackupBatchSpec struct {
	// Backends that the sessions back up to. The default is the namespace's default storage, else the cluster's.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Backends []BackendReference `json:"backends,omitempty"`

	// Targets of the application, all in this namespace. Those with a selector count for each object that they find; there are
	// at most 1,000.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	Targets []BatchTarget `json:"targets"`

	// Sessions, each with its schedule and what it does for each target.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Sessions []BackupBatchSession `json:"sessions"`

	// Paused stops the schedules of all sessions. Runs that are under way go on, with their retries, and a run that somebody
	// starts by hand runs.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// ExecutionOrder says whether the targets of a batch are worked on side by side.
// +kubebuilder:validation:Enum=Parallel;Sequential
type ExecutionOrder string

// The values of ExecutionOrder.
const (
	// ExecutionParallel works on the targets side by side.
	ExecutionParallel ExecutionOrder = "Parallel"
	// ExecutionSequential works on one target after the other.
	ExecutionSequential ExecutionOrder = "Sequential"
)

// BackupBatchSession is one session of a BackupBatch.
// +kubebuilder:validation:XValidation:rule="!has(self.maxParallel) || !has(self.executionOrder) || self.executionOrder == 'Parallel'",message="maxParallel goes with executionOrder Parallel: leave it out, Sequential backs one target up at a time"
type BackupBatchSession struct {
	SessionConfig `json:",inline"`

	// ExecutionOrder of the targets. Parallel backs them up side by side. Sequential begins with a target when those before it
	// have ended, whether well or not, in the order of the targets below.
	// +optional
	// +kubebuilder:default=Parallel
	ExecutionOrder ExecutionOrder `json:"executionOrder,omitempty"`

	// MaxParallel is how many targets are backed up at once, with their hooks. Each of the others begins, in the order of the
	// targets below, when one has ended. The default is all of them. Only with executionOrder Parallel.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxParallel *int32 `json:"maxParallel,omitempty"`

	// Repositories of those targets of this session that name none, as a template: each such target has one for each of these,
	// with the name <name>-<target> and the directory <directory>/<target>. What is left out here is inferred for each target.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []RepositoryInfo `json:"repositories,omitempty"`

	// Targets of this session. There are at most 500, those that selectors find counted.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	Targets []BatchSessionTarget `json:"targets"`
}

// BatchSessionTarget is what a session does for one target.
type BatchSessionTarget struct {
	// Name of spec.targets. What is said here holds for every object that a target with a selector finds.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Addon says how the target's data is moved. The default depends on the target's kind, as in a BackupConfiguration.
	// +optional
	Addon *AddonInfo `json:"addon,omitempty"`

	// Executor that moves the data: a Job for each run, or a Sidecar in the pods of a Deployment, StatefulSet or DaemonSet. A
	// sidecar is added to the workload, whose pods are replaced for that, and removed when no session asks for it any more. The
	// default is that of the Addon's task.
	// +optional
	Executor Executor `json:"executor,omitempty"`

	CopySettings `json:",inline"`

	// Repositories that the target is backed up into. For a target with a selector they are a template, as those of the session
	// are. The default is the session's repositories, else one with the name of the target's BackupConfiguration,
	// <batch>-<target>.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []RepositoryInfo `json:"repositories,omitempty"`

	// BackupTimeout ends the backup of this target when it takes longer, with its preBackup hooks, counted from when the
	// target begins. The other targets go on. The default is the time that is left of the whole run, which ends it in any case.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout is at least 1s"
	BackupTimeout *metav1.Duration `json:"backupTimeout,omitempty"`

	// Hooks that run before and after the backup of this target, between the hooks of the session.
	// +optional
	Hooks *TargetHooks `json:"hooks,omitempty"`
}

// BackupBatchStatus is what was made of the policy.
type BackupBatchStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, ValidationPassed, Protected where a session has a schedule, and while it matters TargetsOverlap,
	// Reconciling or Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase is Ready, NotReady or Invalid.
	// +optional
	// +kubebuilder:validation:Enum=Ready;NotReady;Invalid
	Phase string `json:"phase,omitempty"`

	// Targets and what was made of them: one for each object that a selector finds.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	Targets []BatchTargetStatus `json:"targets,omitempty"`

	// Dependencies are what the BackupConfigurations of the targets depend on, and whether it exists: the first thousand.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Dependencies []ResourceFoundStatus `json:"dependencies,omitempty"`

	// Sessions and their schedules.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Sessions []SessionStatus `json:"sessions,omitempty"`

	// LastHandledTrigger is the last value of the annotation backup.cairn.dev/trigger that was acted on.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	LastHandledTrigger string `json:"lastHandledTrigger,omitempty"`
}

// BatchTargetStatus is the state of one target of a BackupBatch.
type BatchTargetStatus struct {
	// Name of the target. That of an object that a selector found is <target>-<kind>-<object>, in lower case.
	Name string `json:"name"`
	// FoundBy is the name of the target of spec.targets whose selector found the object. Empty where the target names it.
	// +optional
	FoundBy string `json:"foundBy,omitempty"`
	// AppRef of the target.
	// +optional
	AppRef TypedObjectReference `json:"appRef,omitempty"`
	// Configuration is the name of the BackupConfiguration that was made for it.
	// +optional
	Configuration string `json:"configuration,omitempty"`
	// Phase of that BackupConfiguration.
	// +optional
	Phase string `json:"phase,omitempty"`
	// Reason why it is not ready.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// BackupBatch is the backup policy of an application of several targets. It is expanded into one BackupConfiguration a target.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bb,categories=cairn
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
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
