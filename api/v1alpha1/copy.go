package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// CopyMethod says what the mover of a file backup reads.
// +kubebuilder:validation:Enum=Direct;Snapshot;Clone
type CopyMethod string

// The values of CopyMethod.
const (
	// CopyDirect reads the volumes themselves, while they may be written to.
	CopyDirect CopyMethod = "Direct"
	// CopySnapshot reads a temporary volume that is made of a VolumeSnapshot.
	CopySnapshot CopyMethod = "Snapshot"
	// CopyClone reads a temporary volume that is cloned from the volume.
	CopyClone CopyMethod = "Clone"
)

// Copies says whether the mover reads a copy of the volumes. Nothing said is CopyDirect.
func (m CopyMethod) Copies() bool { return m != "" && m != CopyDirect }

// CopySettings say what the mover of a file backup reads.
// +kubebuilder:validation:XValidation:rule="!has(self.copyVolume) || has(self.copyMethod) && self.copyMethod != 'Direct'",message="copyVolume goes with copyMethod Snapshot or Clone"
// +kubebuilder:validation:XValidation:rule="!has(self.copyVolume) || !has(self.copyVolume.volumeSnapshotClassName) || has(self.copyMethod) && self.copyMethod == 'Snapshot'",message="copyVolume.volumeSnapshotClassName goes with copyMethod Snapshot"
type CopySettings struct {
	// CopyMethod says what the mover reads: the volumes themselves (Direct, the default), which may be written to meanwhile, or a
	// temporary volume made of a VolumeSnapshot (Snapshot) or cloned by the CSI driver (Clone). Cairn removes what is temporary.
	// +optional
	CopyMethod CopyMethod `json:"copyMethod,omitempty"`

	// CopyVolume shapes the temporary volumes.
	// +optional
	CopyVolume *CopyVolume `json:"copyVolume,omitempty"`
}

// CopyVolume shapes the temporary volumes that movers read.
type CopyVolume struct {
	// VolumeSnapshotClassName of the VolumeSnapshots. The default is what the annotation backup.cairn.dev/volume-snapshot-class of
	// the claim or its StorageClass says, else the default class of the driver.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	VolumeSnapshotClassName string `json:"volumeSnapshotClassName,omitempty"`

	// StorageClassName of the temporary claims. The default is that of the claim.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	StorageClassName string `json:"storageClassName,omitempty"`

	// AccessModes of the temporary claims. The default are those of the claim, with ReadWriteOnce for ReadWriteOncePod. With
	// ReadOnlyMany alone they are mounted read-only, which some drivers make without copying data.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:Enum=ReadWriteOnce;ReadOnlyMany;ReadWriteMany
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
}

// ResolvedCopy is a temporary volume that a run's Jobs read in place of a volume of the target.
type ResolvedCopy struct {
	// ClaimName of the target's volume.
	ClaimName string `json:"claimName"`
	// Name of the temporary claim, and of the VolumeSnapshot that it is made of.
	Name string `json:"name"`
	// VolumeSnapshotClassName of that VolumeSnapshot. Empty: the volume is cloned.
	// +optional
	VolumeSnapshotClassName string `json:"volumeSnapshotClassName,omitempty"`
	// StorageClassName of the temporary claim.
	StorageClassName string `json:"storageClassName"`
	// Immediate says that its volume is made before there is a pod.
	// +optional
	Immediate bool `json:"immediate,omitempty"`
	// Size that it has at least: that of the target's volume.
	Size resource.Quantity `json:"size"`
	// AccessModes of it. With ReadOnlyMany alone it is mounted read-only.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes"`
}

// ReadOnly says whether nobody can write to the temporary volume.
func (c *ResolvedCopy) ReadOnly() bool {
	return len(c.AccessModes) == 1 && c.AccessModes[0] == corev1.ReadOnlyMany
}

// CopyOf is what the Jobs read in place of a claim of the target; nil where they read the claim itself.
func (t *ResolvedTarget) CopyOf(claim string) *ResolvedCopy {
	for i := range t.Copies {
		if claim != "" && t.Copies[i].ClaimName == claim {
			return &t.Copies[i]
		}
	}
	return nil
}
