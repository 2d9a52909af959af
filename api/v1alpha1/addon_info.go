package v1alpha1

import corev1 "k8s.io/api/core/v1"

// TargetVolumes are further volumes that the containers of a task see, beside the volumes that are backed up or
// restored.
type TargetVolumes struct {
	// Volumes to add to the pod.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Volumes []Volume `json:"volumes,omitempty"`

	// VolumeMounts of those volumes, in every container of the task. A backup's mover sees them read-only.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=16
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`

	// VolumeClaimTemplates are PersistentVolumeClaims that a restore makes and restores into. In their names
	// ${POD_ORDINAL} stands for the ordinal of a StatefulSet's pod and ${COMPONENT_NAME} for the name of the component.
	// When there are several templates, each needs the annotation backup.cairn.dev/component. Its value is the name of
	// the component that goes into the claim or, for VolumeSnapshots, the name of the claim that was backed up. Claims
	// that a restore made stay when the restore is deleted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	VolumeClaimTemplates []RestoreClaimTemplate `json:"volumeClaimTemplates,omitempty"`

	// Replicas is the number of ordinals, from 0, that ${POD_ORDINAL} stands for when the templates name
	// VolumeSnapshots. The default is 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Replicas *int32 `json:"replicas,omitempty"`
}

// AddonVolume overrides the source of one of a task's volumes.
type AddonVolume struct {
	// Name of a volume in the task's volumeTemplate, or ${INTERIM_VOLUME} or ${RESTIC_CACHE_VOLUME}.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?|\\$\\{[A-Z_]+\\})$"
	Name string `json:"name"`

	// Source of the volume.
	// +required
	Source TaskVolumeSource `json:"source"`
}
