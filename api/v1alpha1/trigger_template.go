package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TriggerJobTemplate shapes the Jobs that start runs. Each Job is one small pod that creates a BackupSession.
type TriggerJobTemplate struct {
	// BackoffLimit is how often a failed pod is retried. The default is 3. A retry makes no second run.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`

	// ActiveDeadlineSeconds ends a Job that takes longer. The default is 600.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// TTLSecondsAfterFinished is how long a finished Job is kept. The default is 300, or no limit if a history limit is
	// set.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// Parallelism must be 1: a slot has one run.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == 1",message="parallelism must be 1: a slot has one run"
	Parallelism *int32 `json:"parallelism,omitempty"`

	// Completions must be 1: a slot has one run.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == 1",message="completions must be 1: a slot has one run"
	Completions *int32 `json:"completions,omitempty"`

	// CompletionMode must be NonIndexed: a slot has one run.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self == 'NonIndexed'",message="completionMode must be NonIndexed: a slot has one run"
	CompletionMode *string `json:"completionMode,omitempty"`

	// Suspend must be false: use scheduler.suspend.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="a suspended Job starts nothing: set scheduler.suspend"
	Suspend *bool `json:"suspend,omitempty"`

	// Template of the pod.
	// +optional
	Template TriggerPodTemplate `json:"template,omitempty"`
}

// TriggerPodTemplate is the part of KubeStash's flat pod template that a pod needs to start a run.
type TriggerPodTemplate struct {
	// Metadata of the pod.
	// +optional
	Metadata TriggerMetadata `json:"metadata,omitempty"`

	// Controller is the metadata of the Job.
	// +optional
	Controller TriggerMetadata `json:"controller,omitempty"`

	// Spec of the pod.
	// +optional
	Spec TriggerPodSpec `json:"spec,omitempty"`
}

// TriggerMetadata is the part of the metadata of such a Job or pod that a policy can set.
type TriggerMetadata struct {
	// Labels beside Cairn's own.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('backup.cairn.dev/') && k != 'app.kubernetes.io/managed-by' && !k.startsWith('batch.kubernetes.io/') && !(k in ['job-name', 'controller-uid']))",message="labels of backup.cairn.dev, of Jobs and app.kubernetes.io/managed-by are reserved for Cairn and Kubernetes"
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations beside Cairn's own.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('backup.cairn.dev/'))",message="annotations of backup.cairn.dev are reserved for Cairn"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// TriggerSecurityContext defines the user and group of such a pod: never root, and within the restricted Pod Security
// profile.
type TriggerSecurityContext struct {
	// RunAsUser is the user ID. The default is 65532.
	// +optional
	// +kubebuilder:validation:Minimum=1
	RunAsUser *int64 `json:"runAsUser,omitempty"`

	// RunAsGroup is the group ID. The default is the user ID.
	// +optional
	// +kubebuilder:validation:Minimum=1
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
}

// TriggerPodSpec defines where such a pod runs and its resources. Cairn defines what it does and its rights.
// +kubebuilder:validation:XValidation:rule="!has(self.priority) || has(self.priorityClassName)",message="priority needs priorityClassName: Kubernetes only accepts the priority of a class"
type TriggerPodSpec struct {
	// Resources of the container. The default requests 10m of CPU and 32Mi of memory.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// NodeSelector of the pod.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Tolerations of the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// PriorityClassName of the pod. A class whose name begins with system- is refused.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// SchedulerName of the pod.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SchedulerName string `json:"schedulerName,omitempty"`

	// RuntimeClassName of the pod.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`

	// ImagePullSecrets of the pod, Secrets of its namespace.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// SecurityContext of the pod.
	// +optional
	SecurityContext *TriggerSecurityContext `json:"securityContext,omitempty"`

	// Affinity of the pod.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// TopologySpreadConstraints of the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// Priority of the pod. It must be the priority of priorityClassName.
	// +optional
	Priority *int32 `json:"priority,omitempty"`

	// TerminationGracePeriodSeconds of the pod. The default is 30.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`

	// DNSPolicy of the pod.
	// +optional
	// +kubebuilder:validation:Enum=ClusterFirst;ClusterFirstWithHostNet;Default;None
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`

	// DNSConfig of the pod.
	// +optional
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`

	// EnableServiceLinks adds the Services of the namespace to the environment of the container. The default is false.
	// +optional
	EnableServiceLinks *bool `json:"enableServiceLinks,omitempty"`

	// ServiceAccountName is refused.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self in ['', 'cairn-trigger']",message="serviceAccountName can't be set: the pod that starts a run uses cairn-trigger, which is allowed nothing else"
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// Env is refused.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Type=object
	// +kubebuilder:validation:items:XPreserveUnknownFields
	// +kubebuilder:validation:XValidation:rule="size(self) == 0",message="env can't be set: the pod that starts a run reads no variables. Set variables of a backup in addon.tasks[*].variables"
	Env []apiextensionsv1.JSON `json:"env,omitempty"`

	// Args are refused.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0",message="args can't be set: the pod that starts a run does nothing else"
	Args []string `json:"args,omitempty"`

	// Volumes are refused.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Type=object
	// +kubebuilder:validation:items:XPreserveUnknownFields
	// +kubebuilder:validation:XValidation:rule="size(self) == 0",message="volumes can't be set: the pod that starts a run needs none"
	Volumes []apiextensionsv1.JSON `json:"volumes,omitempty"`

	// InitContainers are refused.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Type=object
	// +kubebuilder:validation:items:XPreserveUnknownFields
	// +kubebuilder:validation:XValidation:rule="size(self) == 0",message="initContainers can't be set: use a hook of the session, or a step of an Addon's task"
	InitContainers []apiextensionsv1.JSON `json:"initContainers,omitempty"`

	// ContainerSecurityContext is refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="containerSecurityContext can't be set: the pod that starts a run has the least rights already"
	ContainerSecurityContext *Refused `json:"containerSecurityContext,omitempty"`

	// HostNetwork is refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="hostNetwork can't be set: the pod that starts a run has no access to the node's network"
	HostNetwork bool `json:"hostNetwork,omitempty"`
}
