package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackendReference gives a BackupStorage a name inside one policy object.
type BackendReference struct {
	// Name that spec.sessions[*].repositories[*].backend refers to. An empty name is for the repositories that name no
	// backend.
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// StorageRef names the BackupStorage. The default is the default BackupStorage of the namespace, else of the
	// cluster.
	// +optional
	StorageRef *ObjectReference `json:"storageRef,omitempty"`

	// RetentionPolicy of the Repositories in this backend. A Repository has exactly one: if two BackupConfigurations
	// name different ones, nothing is removed. The default is the default RetentionPolicy of the namespace, else of the
	// cluster. Without a RetentionPolicy, Cairn keeps every Snapshot.
	// +optional
	RetentionPolicy *ObjectReference `json:"retentionPolicy,omitempty"`
}

// AddonInfo defines how data is moved.
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

	// ContainerRuntimeSettings of the mover. Earlier steps get the settings that their Function leaves out.
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

	// Variables for the templates of the Addon and its Functions. They override built-in variables and params. A
	// variable with a value is available as ${name}. All variables are in the environment of the task's containers, so
	// $(name) in command and args also works with valueFrom. Values are shown in status: use valueFrom for secrets.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Variables []corev1.EnvVar `json:"variables,omitempty"`

	// TargetVolumes are further volumes that the task's containers see.
	// +optional
	TargetVolumes *TargetVolumes `json:"targetVolumes,omitempty"`

	// AddonVolumes override the sources of the task's volumeTemplate by name. ${INTERIM_VOLUME} is the volume at
	// /cairn/scratch that all steps share. ${RESTIC_CACHE_VOLUME} is the volume at /tmp of the mover.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	AddonVolumes []AddonVolume `json:"addonVolumes,omitempty"`
}

// MoverSecurityContext defines the user and groups of a mover.
type MoverSecurityContext struct {
	// RunAsUser is the user ID. The default is the user of the target's pod, else 65532.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunAsUser *int64 `json:"runAsUser,omitempty"`

	// RunAsGroup is the group ID. The default is the group of the target's pod, else the user ID.
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

// RepositoryInfo defines a repository that a session backs up to.
type RepositoryInfo struct {
	// Name of the Repository. Cairn makes the Repository if it does not exist. The default is the name of the
	// BackupConfiguration. If the Repository exists, it supplies the fields that are left out below.
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Backend is a name of spec.backends. If it is empty, Cairn uses the backend that has no name, or else the only
	// backend. Without any backend, Cairn uses the default BackupStorage of the namespace, or else of the cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Backend string `json:"backend,omitempty"`

	// Directory in the backend, for example /shop/web. It must not contain .. or be the root of the storage. No other
	// Repository can use this directory, a directory around it or a directory in it. The default is
	// /<cluster>/<namespace>/<kind>/<name> of the target, in lower case. The cluster's name is the manager's flag
	// --cluster-name, else the first eight characters of the cluster's UID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern="^(\\.?/)*(\\.?[^/.][^/]*|\\.\\.[^/]+)(/(\\.?[^/.][^/]*|\\.\\.[^/]+|\\.)?)*$"
	Directory string `json:"directory,omitempty"`

	// EncryptionSecret names a Secret with the key password (or RESTIC_PASSWORD) in this namespace. It can also be in
	// the namespace of the storage, if the storage's usagePolicy allows this namespace and the Secret has the
	// annotation backup.cairn.dev/shared: "true". The default is the encryptionSecret of the BackupStorage.
	// +optional
	EncryptionSecret *ObjectReference `json:"encryptionSecret,omitempty"`

	// DeletionPolicy is what happens to the Repository when this policy is deleted and nothing else uses the
	// Repository. Retain keeps it and its Snapshots. Delete removes these objects and keeps the data in the backend.
	// WipeOut removes the data too. A Repository that policy no longer uses stays, whatever is set here: see
	// status.retained.
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

	// Scheduler defines when the session runs. Without it, the session runs only when it is started by hand.
	// +optional
	Scheduler *SchedulerSpec `json:"scheduler,omitempty"`

	// BackupTimeout ends a run that takes longer. By default nothing does: a duration does not tell a run that hangs
	// from one that has much to do, such as the first. A run without a timeout whose success is not there after 6 hours
	// makes Protected false.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout must be at least 1s"
	BackupTimeout *metav1.Duration `json:"backupTimeout,omitempty"`

	// SuccessPolicy defines which doubtful backups count as successful. By default none do.
	// +optional
	SuccessPolicy *SuccessPolicy `json:"successPolicy,omitempty"`

	// Hooks that run before and after the backup. A hook can run twice if the manager was stopped while it ran, so
	// running it twice must do no harm.
	// +optional
	Hooks *BackupHooks `json:"hooks,omitempty"`

	// RetryConfig retries the failed targets of a run that the schedule started, and with them the skipped ones.
	// Without it, nothing is retried before the next slot.
	// +optional
	RetryConfig *RetryConfig `json:"retryConfig,omitempty"`

	// SessionHistoryLimit is how many finished BackupSessions of this session are kept, with their Jobs. Also kept are
	// the last successful one, those that a Ledger still has to record and those that will be retried. Snapshots stay
	// when their BackupSession goes.
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
	// Ready is whether its storage can be used from here.
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
