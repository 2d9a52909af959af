package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// CopyMethod is what the mover of a file backup reads.
// +kubebuilder:validation:Enum=Direct;Snapshot;Clone
type CopyMethod string

// The values of CopyMethod.
const (
	// CopyDirect reads the volumes themselves, while others can write to them.
	CopyDirect CopyMethod = "Direct"
	// CopySnapshot reads a temporary volume that is made from a VolumeSnapshot.
	CopySnapshot CopyMethod = "Snapshot"
	// CopyClone reads a temporary volume that is cloned from the volume.
	CopyClone CopyMethod = "Clone"
)

// Copies reports whether the mover reads a copy of the volumes. An empty CopyMethod means CopyDirect.
func (m CopyMethod) Copies() bool { return m != "" && m != CopyDirect }

// CopySettings define what the mover of a file backup reads.
// +kubebuilder:validation:XValidation:rule="!has(self.copyVolume) || has(self.copyMethod) && self.copyMethod != 'Direct'",message="copyVolume needs copyMethod Snapshot or Clone"
// +kubebuilder:validation:XValidation:rule="!has(self.copyVolume) || !has(self.copyVolume.volumeSnapshotClassName) || has(self.copyMethod) && self.copyMethod == 'Snapshot'",message="copyVolume.volumeSnapshotClassName needs copyMethod Snapshot"
type CopySettings struct {
	// CopyMethod is what the mover reads. Direct, the default, is the volumes themselves, while others can write to
	// them. Snapshot is a temporary volume made from a VolumeSnapshot. Clone is a temporary volume that the CSI driver
	// clones. Cairn removes temporary objects after the run.
	// +optional
	CopyMethod CopyMethod `json:"copyMethod,omitempty"`

	// CopyVolume shapes the temporary volumes.
	// +optional
	CopyVolume *CopyVolume `json:"copyVolume,omitempty"`
}

// CopyVolume shapes the temporary volumes that movers read.
type CopyVolume struct {
	// VolumeSnapshotClassName of the VolumeSnapshots. The default is the annotation
	// backup.cairn.dev/volume-snapshot-class of the claim or its StorageClass, else the default class of the driver.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	VolumeSnapshotClassName string `json:"volumeSnapshotClassName,omitempty"`

	// StorageClassName of the temporary claims. The default is the StorageClass of the claim.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	StorageClassName string `json:"storageClassName,omitempty"`

	// AccessModes of the temporary claims. The default is the access modes of the claim, with ReadWriteOnce in place of
	// ReadWriteOncePod. With ReadOnlyMany alone the volumes are mounted read-only. Some drivers make such volumes
	// without copying data.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:Enum=ReadWriteOnce;ReadOnlyMany;ReadWriteMany
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
}

// ResolvedCopy is a temporary volume that the Jobs of a run read in place of a volume of the target.
type ResolvedCopy struct {
	// ClaimName of the target's volume.
	ClaimName string `json:"claimName"`
	// Name of the temporary claim, and of the VolumeSnapshot that it is made from.
	Name string `json:"name"`
	// VolumeSnapshotClassName of that VolumeSnapshot. If empty, the volume is cloned.
	// +optional
	VolumeSnapshotClassName string `json:"volumeSnapshotClassName,omitempty"`
	// StorageClassName of the temporary claim.
	StorageClassName string `json:"storageClassName"`
	// Immediate is whether the temporary volume is made before a pod uses it.
	// +optional
	Immediate bool `json:"immediate,omitempty"`
	// Size is the least size of the temporary volume: the size of the target's volume.
	Size resource.Quantity `json:"size"`
	// AccessModes of the temporary claim. With ReadOnlyMany alone it is mounted read-only.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes"`
}

// ReadOnly reports whether nobody can write to the temporary volume.
func (c *ResolvedCopy) ReadOnly() bool {
	return len(c.AccessModes) == 1 && c.AccessModes[0] == corev1.ReadOnlyMany
}

// CopyOf returns the copy that the Jobs read in place of a claim of the target, or nil if they read the claim itself.
func (t *ResolvedTarget) CopyOf(claim string) *ResolvedCopy {
	for i := range t.Copies {
		if claim != "" && t.Copies[i].ClaimName == claim {
			return &t.Copies[i]
		}
	}
	return nil
}
