package v1alpha1

import corev1 "k8s.io/api/core/v1"

// RestoreClaimTemplate is a PersistentVolumeClaim to be made.
type RestoreClaimTemplate struct {
	// APIVersion is v1, where it is given.
	// +optional
	// +kubebuilder:validation:Enum=v1
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind is PersistentVolumeClaim, where it is given.
	// +optional
	// +kubebuilder:validation:Enum=PersistentVolumeClaim
	Kind string `json:"kind,omitempty"`

	// Metadata of the claim.
	// +required
	Metadata ClaimMetadata `json:"metadata"`

	// Spec of the claim. A claim of files comes empty. One of a VolumeSnapshot is made of what the Snapshot says, where it says nothing:
	// size, access modes, StorageClass. Only a RestoreSession without dataSource names the VolumeSnapshot itself.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.volumeName)",message="a claim that is restored into gets a volume of its own: leave volumeName out"
	// +kubebuilder:validation:XValidation:rule="!(has(self.dataSource) && has(self.dataSourceRef)) && (!has(self.dataSource) || has(self.dataSource.apiGroup) && self.dataSource.apiGroup == 'snapshot.storage.k8s.io' && self.dataSource.kind == 'VolumeSnapshot') && (!has(self.dataSourceRef) || has(self.dataSourceRef.apiGroup) && self.dataSourceRef.apiGroup == 'snapshot.storage.k8s.io' && self.dataSourceRef.kind == 'VolumeSnapshot' && !has(self.dataSourceRef.namespace))",message="a claim is restored from a VolumeSnapshot of its namespace: dataSource or dataSourceRef with apiGroup snapshot.storage.k8s.io, kind VolumeSnapshot and a name"
	Spec corev1.PersistentVolumeClaimSpec `json:"spec"`
}

// ClaimMetadata is the metadata of a claim to be made.
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

	// Annotations of the claim. backup.cairn.dev/component is the component that goes into it; backup.cairn.dev/replace names the UIDs
	// of claims of its name that are deleted for it.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}
