package v1alpha1

import corev1 "k8s.io/api/core/v1"

// ContainerRuntimeSettings shape a container. A setting beyond the restricted Pod Security profile needs the annotation
// backup.cairn.dev/privileged-movers: "true" on the Namespace.
type ContainerRuntimeSettings struct {
	// Resources of the container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// SecurityContext of the container. User 0, privileged, added capabilities and similar settings need the annotation
	// backup.cairn.dev/privileged-movers: "true" on the Namespace.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.windowsOptions)",message="windowsOptions can't be set: movers are Linux containers"
	SecurityContext *corev1.SecurityContext `json:"securityContext,omitempty"`

	// Env of the container. Cairn itself sets HOME, TMPDIR and COMPONENT_NAME.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Env []corev1.EnvVar `json:"env,omitempty"`

	// EnvFrom adds environment variables from ConfigMaps and Secrets.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	EnvFrom []corev1.EnvFromSource `json:"envFrom,omitempty"`

	// LivenessProbe is refused: a container in a Job ends by itself.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="livenessProbe can't be set: a container in a Job ends by itself, or at the session's timeout"
	LivenessProbe *Refused `json:"livenessProbe,omitempty"`

	// ReadinessProbe is refused: nothing calls a container in a Job.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="readinessProbe can't be set: nothing calls a container in a Job"
	ReadinessProbe *Refused `json:"readinessProbe,omitempty"`

	// Lifecycle is refused: use a step of the task or a hook.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="lifecycle can't be set: use a step of the task, or a hook of the session"
	Lifecycle *Refused `json:"lifecycle,omitempty"`

	// Nice is refused: set resources.requests.cpu.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="nice can't be set: set resources, which limit a container on every node"
	Nice *Refused `json:"nice,omitempty"`

	// IONice is refused: set resources.
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="ionice can't be set: set resources, which limit a container on every node"
	IONice *Refused `json:"ionice,omitempty"`
}
