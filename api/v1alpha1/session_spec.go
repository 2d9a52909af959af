package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackendReference gives a BackupStorage a name inside one policy object.
type BackendReference struct {
	// Name that spec.sessions[*].repositories[*].backend refers to. Empty is that of the repositories that name none.
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// StorageRef names the BackupStorage. The default is the namespace's default storage, else the cluster's.
	// +optional
	StorageRef *ObjectReference `json:"storageRef,omitempty"`

	// RetentionPolicy names the RetentionPolicy of the Repositories in this backend. A Repository has one: where two
	// BackupConfigurations name different ones, nothing is removed. The default is the namespace's default RetentionPolicy,
	// else the cluster's; without one everything is kept.
	// +optional
	RetentionPolicy *ObjectReference `json:"retentionPolicy,omitempty"`
}

// AddonInfo says how data is moved.
type AddonInfo struct {
	// Name of the Addon.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Tasks of the Addon to run.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1
	Tasks []TaskReference `json:"tasks"`

	// ContainerRuntimeSettings of the mover. Steps before it have them where their Function says nothing.
	// +optional
	ContainerRuntimeSettings *ContainerRuntimeSettings `json:"containerRuntimeSettings,omitempty"`

	// JobTemplate shapes the Job that moves the data.
	// +optional
	JobTemplate *PodTemplateSpec `json:"jobTemplate,omitempty"`
}

// TaskReference names a task of an Addon.
type TaskReference struct {
	// Name of the task.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Params of the task, by the names that the Addon declares. All values are strings.
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Params *apiextensionsv1.JSON `json:"params,omitempty"`

	// Variables for the templates of the Addon and its Functions. They come before built-in variables and params. One with a
	// value is known as ${name}; all of them are in the environment of the task's containers, so that one with valueFrom
	// can be named $(name) in command and args. A value stands in status: take valueFrom for what is secret.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Variables []corev1.EnvVar `json:"variables,omitempty"`

	// TargetVolumes are further volumes that the task's containers see.
	// +optional
	TargetVolumes *TargetVolumes `json:"targetVolumes,omitempty"`

	// AddonVolumes override the sources of the task's volumeTemplate by name. ${INTERIM_VOLUME} is the volume at
	// /cairn/scratch that all steps share, ${RESTIC_CACHE_VOLUME} the one at /tmp of the mover.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	AddonVolumes []AddonVolume `json:"addonVolumes,omitempty"`
}

// MoverSecurityContext is as whom a mover runs.
type MoverSecurityContext struct {
	// RunAsUser is the user ID. The default is that of the target's pod, else 65532.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunAsUser *int64 `json:"runAsUser,omitempty"`

	// RunAsGroup is the group ID. The default is that of the target's pod, else the user ID.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`

	// SupplementalGroups are further group IDs.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	SupplementalGroups []int64 `json:"supplementalGroups,omitempty"`

	// SELinuxOptions of the pod.
	// +optional
	SELinuxOptions *corev1.SELinuxOptions `json:"seLinuxOptions,omitempty"`
}

// RepositoryInfo says into which repository a session backs up.
type RepositoryInfo struct {
	// Name of the Repository object, which is made if it does not exist. The default is the name of the BackupConfiguration.
	// Where the Repository exists it says what is left out below.
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Backend is a name of spec.backends. The default is the backend without a name, else the only one there is. Without any
	// backend it is the namespace's default storage, else the cluster's.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Backend string `json:"backend,omitempty"`

	// Directory of the backend, for example /shop/web. It holds no .. and is not the storage's root. No other Repository may
	// use it, a directory around it or one in it. The default is /<cluster>/<namespace>/<kind>/<name> of the target, in lower
	// case. The cluster's name is the manager's flag --cluster-name, else the first eight characters of the cluster's UID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern="^(\\.?/)*(\\.?[^/.][^/]*|\\.\\.[^/]+)(/(\\.?[^/.][^/]*|\\.\\.[^/]+|\\.)?)*$"
	Directory string `json:"directory,omitempty"`

	// EncryptionSecret names a Secret with the key password (or RESTIC_PASSWORD), in this namespace, or in that of the storage
	// where the storage's usagePolicy allows this one and the Secret has the annotation backup.cairn.dev/shared: "true".
	// The default is the encryptionSecret of the BackupStorage.
	// +optional
	EncryptionSecret *ObjectReference `json:"encryptionSecret,omitempty"`

	// DeletionPolicy says what happens to the Repository when this policy is deleted and nothing else uses it: Retain leaves
	// it and its Snapshots, Delete removes these objects and keeps the data in the backend, WipeOut removes that too.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy RepositoryDeletionPolicy `json:"deletionPolicy,omitempty"`
}

// SessionConfig is what the sessions of a BackupConfiguration and of a BackupBatch have in common.
type SessionConfig struct {
	// Name of the session.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	// Scheduler says when the session runs. Without it, it runs only when asked to.
	// +optional
	Scheduler *SchedulerSpec `json:"scheduler,omitempty"`

	// BackupTimeout ends a run that takes longer.
	// +optional
	// +kubebuilder:default="6h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout is at least 1s"
	BackupTimeout *metav1.Duration `json:"backupTimeout,omitempty"`

	// SuccessPolicy says which doubtful backups count as successful. The default is none.
	// +optional
	SuccessPolicy *SuccessPolicy `json:"successPolicy,omitempty"`

	// Hooks that run before and after the backup. They may be run again when the manager was stopped in the middle of one, so
	// running one twice must do no harm.
	// +optional
	Hooks *BackupHooks `json:"hooks,omitempty"`

	// RetryConfig tries again what failed of a run that the schedule started. Without it, nothing is tried again before the
	// next slot.
	// +optional
	RetryConfig *RetryConfig `json:"retryConfig,omitempty"`

	// SessionHistoryLimit is how many finished BackupSessions of this session are kept, with their Jobs. The last one that
	// succeeded is kept beside them, and so is one that no Ledger has recorded yet or that will be tried again.
	// Snapshots stay, whatever becomes of their BackupSession.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	SessionHistoryLimit *int32 `json:"sessionHistoryLimit,omitempty"`
}

// BackendStatus is the state of one backend of a policy object.
type BackendStatus struct {
	// Name of the backend.
	Name string `json:"name"`
	// Ready says whether its storage can be used from here.
	// +optional
	Ready *bool `json:"ready,omitempty"`
	// Storage that it refers to.
	// +optional
	Storage *StorageStatus `json:"storage,omitempty"`
	// RetentionPolicy that it refers to.
	// +optional
	RetentionPolicy *RetentionPolicyUse `json:"retentionPolicy,omitempty"`
}

// StorageStatus is the state of a BackupStorage as a policy object sees it.
type StorageStatus struct {
	// Ref names the BackupStorage.
	// +optional
	Ref ObjectReference `json:"ref,omitempty"`
	// Phase of the BackupStorage.
	// +optional
	Phase string `json:"phase,omitempty"`
	// Reason why it can't be used.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// RepoStatus is the state of one Repository of a policy object.
type RepoStatus struct {
	// Name of the Repository.
	Name string `json:"name"`
	// Phase of the Repository.
	// +optional
	Phase string `json:"phase,omitempty"`
	// Reason why it can't be used.
	// +optional
	Reason string `json:"reason,omitempty"`
}
