package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// HookFunctionExecutor runs a Function in a Job of the run's namespace. In the texts of the Function and of this object
// ${name} stands for a parameter of the template, a variable of the hook with a value, or a built-in variable of hooks
// or tasks.
type HookFunctionExecutor struct {
	// Name of the Function. Its container gets no token and only one volume of Cairn's: ${INTERIM_VOLUME} at
	// ${interimDataDir}. It stays within the restricted Pod Security profile, unless the Namespace allows more.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Env are environment variables of the Function's container. They override those of the Function.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Env []corev1.EnvVar `json:"env,omitempty"`

	// VolumeMounts of the Function's container, beside the Function's own.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=16
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`

	// Volumes of the Job's pod. PersistentVolumeClaims, ConfigMaps and Secrets are those of the run's namespace.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Volumes []Volume `json:"volumes,omitempty"`
}

// HookRuntimeSettings shape the pod of a hook's Job.
type HookRuntimeSettings struct {
	// Pod has the fields of BackupStorage.spec.runtimeSettings.pod: securityContext, nodeSelector, tolerations,
	// affinity and so on. They are checked with the hook: an unknown field is reported as InvalidHook. The default user
	// is 65532.
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Pod *apiextensionsv1.JSON `json:"pod,omitempty"`

	// Container settings. They override those of the Function and of the HookTemplate.
	// +optional
	Container *ContainerRuntimeSettings `json:"container,omitempty"`
}

// ResolvedFunction is the Function of a hook, frozen when the run started.
type ResolvedFunction struct {
	// MoverImage is the image that ${moverImage} and similar variables stand for.
	MoverImage string `json:"moverImage,omitempty"`
	// Spec of the Function.
	Spec FunctionSpec `json:"spec"`
	// Env holds the variables of the hook that have a value.
	Env []corev1.EnvVar `json:"env,omitempty"`
	// Volumes of the hook.
	Volumes []Volume `json:"volumes,omitempty"`
	// VolumeMounts of the hook.
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`
	// Pod settings of the hook.
	Pod *PodRuntimeSettings `json:"pod,omitempty"`
	// Container settings of the hook.
	Container *ContainerRuntimeSettings `json:"container,omitempty"`
}
