package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// PodTemplateSpec is the part of KubeStash's flat pod template that a mover needs.
type PodTemplateSpec struct {
	// Metadata of the pod.
	// +optional
	Metadata TemplateMetadata `json:"metadata,omitempty"`

	// Controller is the metadata of the Job.
	// +optional
	Controller TemplateMetadata `json:"controller,omitempty"`

	// Spec of the pod.
	// +optional
	Spec JobPodSpec `json:"spec,omitempty"`
}

// TemplateMetadata is the part of the metadata of a Job or pod that a policy can set.
type TemplateMetadata struct {
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

// JobPodSpec shapes the pod of a mover.
// +kubebuilder:validation:XValidation:rule="!has(self.priority) || has(self.priorityClassName)",message="priority needs priorityClassName: Kubernetes only accepts the priority of a class"
type JobPodSpec struct {
	// SecurityContext of the pod. It is used if the target's own pods do not define a user. runAsUser 0, and an SELinux
	// user, role or type that the restricted Pod Security profile does not allow, need the annotation
	// backup.cairn.dev/privileged-movers: "true" on the Namespace.
	// +optional
	SecurityContext *MoverSecurityContext `json:"securityContext,omitempty"`

	// ContainerSecurityContext of the task's containers. containerRuntimeSettings override it.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.windowsOptions)",message="windowsOptions can't be set: movers are Linux containers"
	ContainerSecurityContext *corev1.SecurityContext `json:"containerSecurityContext,omitempty"`

	// Resources of the mover's container. containerRuntimeSettings override them. Earlier steps get those that their
	// Function leaves out. The limits of cpu, memory and ephemeral-storage also hold, each as a whole, for the
	// container with the programs of a database. Its requests are small ones of Cairn.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// Env of the task's containers. containerRuntimeSettings override it. Cairn itself sets HOME, TMPDIR and
	// COMPONENT_NAME.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Env []corev1.EnvVar `json:"env,omitempty"`

	// Volumes of the pod beside the target's.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Volumes []Volume `json:"volumes,omitempty"`

	// VolumeMounts of those volumes, in every container of the task.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=16
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`

	// NodeSelector of the pod. A volume in use still decides on its node.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Tolerations of the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Affinity of the pod. A volume in use still decides on its node.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// TopologySpreadConstraints of the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// SchedulerName of the pod's scheduler.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SchedulerName string `json:"schedulerName,omitempty"`

	// PriorityClassName of the pod. A class whose name begins with system- needs the annotation
	// backup.cairn.dev/privileged-movers: "true" on the Namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// RuntimeClassName of the pod.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`

	// ImagePullSecrets of the namespace, for the images of Functions.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// ServiceAccountName that the pod runs as instead of cairn-mover. It needs the annotation
	// backup.cairn.dev/privileged-movers: "true" on the Namespace. Unless the account can patch the status of Snapshots
	// and RestoreSessions, the mover reports its result only in its termination message.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// TerminationGracePeriodSeconds is the time that a mover has to save its work. The default is 45.
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

	// EnableServiceLinks adds the Services of the namespace to the environment of the containers. The default is false.
	// +optional
	EnableServiceLinks *bool `json:"enableServiceLinks,omitempty"`

	// HostNetwork is refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="hostNetwork can't be set: a mover has no access to the node's network"
	HostNetwork bool `json:"hostNetwork,omitempty"`

	// HostPID is refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="hostPID can't be set: a mover has no access to the node's processes"
	HostPID bool `json:"hostPID,omitempty"`

	// HostIPC is refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="hostIPC can't be set: a mover has no access to the node's processes"
	HostIPC bool `json:"hostIPC,omitempty"`

	// ShareProcessNamespace is refused: a step could read the mover's credentials.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="shareProcessNamespace can't be set: a step could read the credentials of the mover"
	ShareProcessNamespace *bool `json:"shareProcessNamespace,omitempty"`

	// Args are refused: the Function defines the arguments of a mover.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0",message="args can't be set here: set params of the task, or write a Function"
	Args []string `json:"args,omitempty"`

	// Priority of the pod. It must be the priority of priorityClassName.
	// +optional
	Priority *int32 `json:"priority,omitempty"`

	// InitContainers are refused: use steps of a task.
	// +optional
	// +kubebuilder:validation:Type=array
	// +kubebuilder:validation:items:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="size(self) == 0",message="initContainers can't be set: write a Function for each and name them as steps of an Addon's task"
	InitContainers []apiextensionsv1.JSON `json:"initContainers,omitempty"`

	// LivenessProbe is refused: a mover ends by itself, or at the session's timeout.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="livenessProbe can't be set: a mover ends by itself, or at the session's timeout"
	LivenessProbe *Refused `json:"livenessProbe,omitempty"`

	// ReadinessProbe is refused: nothing calls a mover.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="readinessProbe can't be set: nothing calls a mover"
	ReadinessProbe *Refused `json:"readinessProbe,omitempty"`

	// Lifecycle is refused: use a step of the task or a hook.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="lifecycle can't be set: use a step of the task, or a hook of the session"
	Lifecycle *Refused `json:"lifecycle,omitempty"`

	// PodPlacementPolicy is refused: set affinity, nodeSelector or topologySpreadConstraints.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="podPlacementPolicy can't be set: set affinity, nodeSelector or topologySpreadConstraints"
	PodPlacementPolicy *Refused `json:"podPlacementPolicy,omitempty"`
}
