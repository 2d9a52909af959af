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

	// Spec of the claim. Its volume must come empty: it has neither a data source nor the name of a volume.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.dataSource) && !has(self.dataSourceRef) && !has(self.volumeName)",message="a claim that is restored into starts empty: leave dataSource, dataSourceRef and volumeName out"
	// +kubebuilder:validation:XValidation:rule="!has(self.volumeMode) || self.volumeMode == 'Filesystem'",message="only file systems can be restored: leave volumeMode out"
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

	// Annotations of the claim. backup.cairn.dev/component is the component that goes into it.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}
