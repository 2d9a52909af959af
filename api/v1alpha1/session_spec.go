package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackendReference gives a BackupStorage a name inside one policy object.
type BackendReference struct {
	// Name that spec.sessions[*].repositories[*].backend refers to.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// StorageRef names the BackupStorage.
	// +required
	StorageRef *ObjectReference `json:"storageRef"`
}

// SchedulerSpec says when a session runs.
type SchedulerSpec struct {
	// Schedule in cron's five fields, or @hourly and the like.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Schedule string `json:"schedule"`

	// TimeZone of the schedule, for example Europe/Berlin. The default is that of the cluster's controller manager.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone *string `json:"timeZone,omitempty"`

	// StartingDeadlineSeconds is how late after its slot a run may still start. Later it is Skipped.
	// +optional
	// +kubebuilder:validation:Minimum=10
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// Suspend stops the schedule. Runs that are under way go on.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`
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
}

// PodTemplateSpec is the part of KubeStash's flat pod template that a mover needs.
type PodTemplateSpec struct {
	// Spec of the pod.
	// +optional
	Spec JobPodSpec `json:"spec,omitempty"`
}

// JobPodSpec shapes a mover's pod.
type JobPodSpec struct {
	// SecurityContext of the pod, used where the target's own pods do not say as whom to run. runAsUser 0 needs the
	// annotation backup.cairn.dev/privileged-movers: "true" on the Namespace, as does an SELinux user, role or type that the
	// restricted Pod Security profile does not allow.
	// +optional
	SecurityContext *MoverSecurityContext `json:"securityContext,omitempty"`

	// Resources of the mover's container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// NodeSelector of the pod. A volume in use still decides on its node.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Tolerations of the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
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
	// Name of the Repository object, which is made if it does not exist.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Backend is a name of spec.backends.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Backend string `json:"backend"`

	// Directory of the backend, for example /shop/web. It holds no .. and is not the storage's root. No other Repository may
	// use it, a directory around it or one in it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern="^(\\.?/)*(\\.?[^/.][^/]*|\\.\\.[^/]+)(/(\\.?[^/.][^/]*|\\.\\.[^/]+|\\.)?)*$"
	Directory string `json:"directory"`

	// EncryptionSecret names a Secret with the key password (or RESTIC_PASSWORD), in this namespace, or in that of the storage
	// where the storage's usagePolicy allows this one and the Secret has the annotation backup.cairn.dev/shared: "true".
	// +required
	EncryptionSecret *ObjectReference `json:"encryptionSecret"`
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
}

// SessionStatus is the state of one session of a policy object.
type SessionStatus struct {
	// Name of the session.
	Name string `json:"name"`

	// NextSchedule is the next slot.
	// +optional
	NextSchedule *metav1.Time `json:"nextSchedule,omitempty"`

	// Conditions: SchedulerEnsured.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=4
	Conditions []metav1.Condition `json:"conditions,omitempty"`
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
