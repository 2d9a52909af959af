package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupConfigurationSpec defines what is backed up, where to and when. A target and a schedule are enough: the rest is
// inferred and shown in status.resolved.
// +kubebuilder:validation:XValidation:rule="self.sessions.all(s, !has(s.repositories) || s.repositories.all(r, !has(r.backend) || size(r.backend) == 0 || has(self.backends) && self.backends.exists(b, b.name == r.backend)))",message="sessions[*].repositories[*].backend must be a name of spec.backends"
type BackupConfigurationSpec struct {
	// Target to back up, in this namespace: a PersistentVolumeClaim, Deployment, StatefulSet or DaemonSet, or a
	// database. A database is named by its Service, or by a Secret of a type servicebinding.io/..., an AppBinding or a
	// Cluster of CloudNativePG that describes it.
	// +required
	// +kubebuilder:validation:XValidation:rule="has(self.kind) && (self.kind in ['PersistentVolumeClaim', 'Service', 'Secret'] && (!has(self.apiGroup) || size(self.apiGroup) == 0) || self.kind in ['Deployment', 'StatefulSet', 'DaemonSet'] && has(self.apiGroup) && self.apiGroup == 'apps' || self.kind == 'AppBinding' && has(self.apiGroup) && self.apiGroup == 'appcatalog.appscode.com' || self.kind == 'Cluster' && has(self.apiGroup) && self.apiGroup == 'postgresql.cnpg.io')",message="the target must be a PersistentVolumeClaim, a Deployment, StatefulSet or DaemonSet of apiGroup apps, or a database: a Service, a Secret of a type servicebinding.io/..., an AppBinding of apiGroup appcatalog.appscode.com or a Cluster of apiGroup postgresql.cnpg.io. Instead of a Pod, ReplicaSet or Job, name the workload or volume that it belongs to"
	Target *TypedObjectReference `json:"target"`

	// Backends that the sessions back up to. The default is the default BackupStorage of the namespace, else of the
	// cluster.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Backends []BackendReference `json:"backends,omitempty"`

	// Sessions of the policy, each with its schedule, its Addon and its repositories.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Sessions []BackupConfigurationSession `json:"sessions"`

	// Paused stops the schedules of all sessions. Runs in progress and their retries go on, and runs can still be
	// started by hand. The default is false.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// BackupConfigurationSession is one session of a BackupConfiguration.
type BackupConfigurationSession struct {
	SessionConfig `json:",inline"`

	// Addon defines how the data is moved. The default is the task logical-backup of pvc-addon for a
	// PersistentVolumeClaim, of workload-addon for a workload, of postgres-addon for a Cluster, and of the Addon for
	// the database type that an AppBinding or Secret states. A Service has no default.
	// +optional
	Addon *AddonInfo `json:"addon,omitempty"`

	// Executor that moves the data: a Job for each run, or a Sidecar in the pods of a Deployment, StatefulSet or
	// DaemonSet. Adding or removing the sidecar replaces the pods of the workload. It is removed when no session asks
	// for it. The default is the executor of the Addon's task.
	// +optional
	Executor Executor `json:"executor,omitempty"`

	CopySettings `json:",inline"`

	// Repositories that each run backs up to, with one Snapshot in each. The default is one repository named like the
	// BackupConfiguration.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []RepositoryInfo `json:"repositories,omitempty"`
}

// BackupConfigurationStatus is the observed state of the policy.
type BackupConfigurationStatus struct {
	// ObservedGeneration is the last generation that was reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready and ValidationPassed; Protected if a session has a schedule; ResolvedBackendChanged,
	// RepositoriesRetained, Reconciling and Stalled while they matter.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Phase is Ready, NotReady or Invalid.
	// +optional
	// +kubebuilder:validation:Enum=Ready;NotReady;Invalid
	Phase string `json:"phase,omitempty"`

	// TargetFound is whether the target exists.
	// +optional
	TargetFound *bool `json:"targetFound,omitempty"`

	// Dependencies are the Addons, Functions, HookTemplates and encryption Secrets of the sessions, and whether they
	// exist.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	Dependencies []ResourceFoundStatus `json:"dependencies,omitempty"`

	// Resolved is what Cairn inferred for fields that the spec leaves out.
	// +optional
	Resolved *ResolvedConfiguration `json:"resolved,omitempty"`

	// Backends and whether they can be used.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Backends []BackendStatus `json:"backends,omitempty"`

	// Repositories and whether they can be used.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	Repositories []RepoStatus `json:"repositories,omitempty"`

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

// BackupConfiguration is the backup policy of one target.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bc,categories=cairn
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.target.kind`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.target.name`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Paused",type=boolean,JSONPath=`.spec.paused`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BackupConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BackupConfigurationSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status BackupConfigurationStatus `json:"status,omitempty"`
}

// GetConditions returns the conditions, for fluxcd/pkg/runtime.
func (c *BackupConfiguration) GetConditions() []metav1.Condition { return c.Status.Conditions }

// SetConditions replaces the conditions, for fluxcd/pkg/runtime.
func (c *BackupConfiguration) SetConditions(cs []metav1.Condition) { c.Status.Conditions = cs }

// BackupConfigurationList is a list of BackupConfigurations.
// +kubebuilder:object:root=true
type BackupConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackupConfiguration `json:"items"`
}
