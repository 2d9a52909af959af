package v1alpha1

import corev1 "k8s.io/api/core/v1"

// RestoreClaimTemplate is a PersistentVolumeClaim that a restore makes.
type RestoreClaimTemplate struct {
	// APIVersion is v1, if set.
	// +optional
	// +kubebuilder:validation:Enum=v1
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind is PersistentVolumeClaim, if set.
	// +optional
	// +kubebuilder:validation:Enum=PersistentVolumeClaim
	Kind string `json:"kind,omitempty"`

	// Metadata of the claim.
	// +required
	Metadata ClaimMetadata `json:"metadata"`

	// Spec of the claim. For files the claim starts empty. For a VolumeSnapshot, fields that are left out (size, access
	// modes, StorageClass) come from the Snapshot. Only a RestoreSession without dataSource names the VolumeSnapshot
	// here.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.volumeName)",message="a claim that is restored into gets a new volume: leave volumeName out"
	// +kubebuilder:validation:XValidation:rule="!(has(self.dataSource) && has(self.dataSourceRef)) && (!has(self.dataSource) || has(self.dataSource.apiGroup) && self.dataSource.apiGroup == 'snapshot.storage.k8s.io' && self.dataSource.kind == 'VolumeSnapshot') && (!has(self.dataSourceRef) || has(self.dataSourceRef.apiGroup) && self.dataSourceRef.apiGroup == 'snapshot.storage.k8s.io' && self.dataSourceRef.kind == 'VolumeSnapshot' && !has(self.dataSourceRef.namespace))",message="a claim can only be restored from a VolumeSnapshot of its namespace: set dataSource or dataSourceRef with apiGroup snapshot.storage.k8s.io, kind VolumeSnapshot and a name"
	Spec corev1.PersistentVolumeClaimSpec `json:"spec"`
}

// ClaimMetadata is the metadata of a claim that a restore makes.
type ClaimMetadata struct {
	// Name of the claim.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Labels of the claim.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations of the claim. backup.cairn.dev/component is the component that goes into it. backup.cairn.dev/replace
	// lists the UIDs of claims with its name that are deleted first.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}
