package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ResolvedRestore is everything that a restore works with, frozen when it starts.
type ResolvedRestore struct {
	// Policy that was in force.
	// +optional
	Policy ResolvedPolicy `json:"policy,omitempty"`
	// Timeout of the restore.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// SpecDigest is what the stamp of the target begins with: the digest of the RestoreSession's spec, or of the part
	// of the RestoreBatch's spec that it was made from.
	// +optional
	SpecDigest string `json:"specDigest,omitempty"`
	// Namespace of the Snapshot and the Repository.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Snapshot that is restored. Empty if the templates name VolumeSnapshots.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
	// SnapshotUID is the UID of the Snapshot.
	// +optional
	SnapshotUID types.UID `json:"snapshotUID,omitempty"`
	// Repository that contains it.
	// +optional
	Repository ResolvedRepository `json:"repository,omitzero"`
	// TargetUID is the UID of the target, which confirm must name. Empty if the restore makes new claims.
	// +optional
	TargetUID types.UID `json:"targetUID,omitempty"`
	// Task that moves the data.
	Task ResolvedTask `json:"task"`
	// Executor that runs the task. Empty means Job.
	// +optional
	Executor Executor `json:"executor,omitempty"`
	// Hosts have one Job each: a pod of a StatefulSet, a node of a DaemonSet, else the whole target.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	Hosts []ResolvedRestoreHost `json:"hosts,omitempty"`
	// Hooks of the restore with their templates. Only Cairn writes them.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Hooks *ResolvedHooks `json:"hooks,omitempty"`
}

// ResolvedRestoreHost is what one Job restores.
type ResolvedRestoreHost struct {
	// Name is pod-<n> for a StatefulSet, the node for a DaemonSet, the component for new claims, else target.
	Name string `json:"name"`
	// Node that the Job of the first attempt must run on. Empty means any node.
	// +optional
	Node string `json:"node,omitempty"`
	// SecurityContext that the Job runs with.
	SecurityContext MoverSecurityContext `json:"securityContext"`
	// Volumes of the host. Each volume is one component.
	// +listType=map
	// +listMapKey=component
	// +kubebuilder:validation:MaxItems=32
	Volumes []ResolvedRestoreVolume `json:"volumes"`
}

// ResolvedRestoreVolume is a volume, or a database, that one component is restored to.
type ResolvedRestoreVolume struct {
	// Component that is restored.
	Component string `json:"component"`
	// Source is the component of the Snapshot, if it is that of another pod.
	// +optional
	Source string `json:"source,omitempty"`
	// ID of the component's data in the repository, or the UID of a VolumeSnapshot.
	ID string `json:"id"`
	// Path in the volume that the component is restored to. Empty means the root.
	// +optional
	Path string `json:"path,omitempty"`
	// Mounts are where the target's containers mount the volume. Absolute patterns of the parameters include and
	// exclude can name these paths, and those of the backup.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Mounts []ResolvedMount `json:"mounts,omitempty"`
	// ClaimName of the PersistentVolumeClaim.
	// +optional
	ClaimName string `json:"claimName,omitempty"`
	// ClaimUID is the UID of the claim. Empty for a claim that the restore makes.
	// +optional
	ClaimUID types.UID `json:"claimUID,omitempty"`
	// Template is the number, from 1, of the volumeClaimTemplate for a claim that the restore makes.
	// +optional
	Template int32 `json:"template,omitempty"`
	// HostPath of a DaemonSet's volume.
	// +optional
	HostPath string `json:"hostPath,omitempty"`
	// Stream of a database replaces the volume, unless claimName names the volume in which its program writes the files
	// of a server.
	// +optional
	Stream *ResolvedStream `json:"stream,omitempty"`
	// Volume is the name of the volume in the pod, if a sidecar restores it.
	// +optional
	Volume string `json:"volume,omitempty"`
	// Provision is how the claim is made from a VolumeSnapshot.
	// +optional
	Provision *ResolvedProvision `json:"provision,omitempty"`
	// Files is the number of files of the component.
	// +optional
	Files int64 `json:"files,omitempty"`
	// Bytes of the component.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
}

// Mounted reports whether there is a volume. A database that receives its data while it runs has none.
func (v *ResolvedRestoreVolume) Mounted() bool { return v.Stream == nil || v.ClaimName != "" }

// ClaimBinding is when a new claim gets its volume.
// +kubebuilder:validation:Enum=Immediate;Consumer;Later
type ClaimBinding string

// The values of ClaimBinding.
const (
	// BindImmediate is for a claim that gets its volume when it is made.
	BindImmediate ClaimBinding = "Immediate"
	// BindConsumer is for a claim that gets its volume when a pod mounts it. A Job of the restore mounts it.
	BindConsumer ClaimBinding = "Consumer"
	// BindLater is for a claim that gets its volume when a pod mounts it. The restore leaves that to the first pod of a
	// user.
	BindLater ClaimBinding = "Later"
)

// ResolvedProvision is how a claim is made from a VolumeSnapshot.
type ResolvedProvision struct {
	// VolumeSnapshot in the namespace of the restore.
	VolumeSnapshot string `json:"volumeSnapshot"`
	// StorageClassName of the claim. Empty means the default class.
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`
	// AccessModes of the claim.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	// VolumeMode of the claim.
	// +optional
	VolumeMode corev1.PersistentVolumeMode `json:"volumeMode,omitempty"`
	// Storage is the size of the claim.
	Storage resource.Quantity `json:"storage"`
	// Binding is when the claim gets its volume.
	Binding ClaimBinding `json:"binding"`
	// Replaces is the UID of the claim with the same name that is deleted first.
	// +optional
	Replaces types.UID `json:"replaces,omitempty"`
	// Import is the snapshot in the storage system that the VolumeSnapshot is made from for the time of the restore, if
	// the Snapshot is of another namespace.
	// +optional
	Import *ResolvedImport `json:"import,omitempty"`
}

// ResolvedImport is a snapshot in a storage system.
type ResolvedImport struct {
	// VolumeSnapshot of that snapshot, in the namespace of the Snapshot.
	VolumeSnapshot string `json:"volumeSnapshot"`
	// Driver is the CSI driver.
	Driver string `json:"driver"`
	// SnapshotHandle is the storage system's ID of the snapshot.
	SnapshotHandle string `json:"snapshotHandle"`
	// ClassName of its VolumeSnapshotClass.
	// +optional
	ClassName string `json:"className,omitempty"`
}
