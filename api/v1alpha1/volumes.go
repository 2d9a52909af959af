package v1alpha1

import corev1 "k8s.io/api/core/v1"

// VolumeSource is what a volume is made from, as in a pod. hostPath and nfs exceed the restricted Pod Security profile:
// they need the annotation backup.cairn.dev/privileged-movers: "true" on the Namespace. Use other sources (disks of one
// cloud, iscsi, cephfs and the like) through a PersistentVolumeClaim.
type VolumeSource struct {
	// PersistentVolumeClaim of the namespace.
	// +optional
	PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim,omitempty"`

	// EmptyDir is lost with the pod.
	// +optional
	EmptyDir *corev1.EmptyDirVolumeSource `json:"emptyDir,omitempty"`

	// ConfigMap of the namespace.
	// +optional
	ConfigMap *corev1.ConfigMapVolumeSource `json:"configMap,omitempty"`

	// Secret of the namespace.
	// +optional
	Secret *corev1.SecretVolumeSource `json:"secret,omitempty"`

	// CSI volume that is made for the pod.
	// +optional
	CSI *corev1.CSIVolumeSource `json:"csi,omitempty"`

	// NFS share. It needs the annotation privileged-movers on the Namespace.
	// +optional
	NFS *corev1.NFSVolumeSource `json:"nfs,omitempty"`

	// HostPath of the node. It needs the annotation privileged-movers on the Namespace.
	// +optional
	HostPath *corev1.HostPathVolumeSource `json:"hostPath,omitempty"`
}

// Volume is a volume of a pod. It has one source.
// +kubebuilder:validation:XValidation:rule="[has(self.persistentVolumeClaim), has(self.emptyDir), has(self.configMap), has(self.secret), has(self.csi), has(self.nfs), has(self.hostPath)].exists_one(x, x)",message="set exactly one of persistentVolumeClaim, emptyDir, configMap, secret, csi, nfs and hostPath: use any other source through a PersistentVolumeClaim"
type Volume struct {
	// Name that volumeMounts refer to.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	VolumeSource `json:",inline"`
}

// VolumeClaimTemplate is a PersistentVolumeClaim to be made.
type VolumeClaimTemplate struct {
	// Metadata of the claim.
	// +optional
	Metadata VolumeClaimMetadata `json:"metadata,omitempty"`

	// Spec of the claim.
	// +required
	Spec corev1.PersistentVolumeClaimSpec `json:"spec"`
}

// VolumeClaimMetadata is the part of a claim's metadata that a policy can set.
type VolumeClaimMetadata struct {
	// Name of the claim.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// Labels of the claim.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations of the claim.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]string `json:"annotations,omitempty"`
}

// TaskVolumeSource is what a volume of a task is made from: an existing source, or a claim that is made for the Job and
// deleted with it.
// +kubebuilder:validation:XValidation:rule="[has(self.persistentVolumeClaim), has(self.emptyDir), has(self.configMap), has(self.secret), has(self.csi), has(self.nfs), has(self.hostPath), has(self.volumeClaimTemplate)].exists_one(x, x)",message="set exactly one of persistentVolumeClaim, emptyDir, configMap, secret, csi, nfs, hostPath and volumeClaimTemplate: use any other source through a PersistentVolumeClaim"
type TaskVolumeSource struct {
	VolumeSource `json:",inline"`

	// VolumeClaimTemplate of a claim that is made for the Job and deleted with it.
	// +optional
	VolumeClaimTemplate *VolumeClaimTemplate `json:"volumeClaimTemplate,omitempty"`
}

// VolumeTemplate is a volume that a task brings along.
type VolumeTemplate struct {
	// Name that volumeMounts refer to. A policy's addonVolumes override the source by this name.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?|\\$\\{[A-Z_]+\\})$"
	Name string `json:"name"`

	// Usage explains the purpose to users.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Usage string `json:"usage,omitempty"`

	// Source of the volume, unless a policy overrides it.
	// +optional
	Source *TaskVolumeSource `json:"source,omitempty"`
}
