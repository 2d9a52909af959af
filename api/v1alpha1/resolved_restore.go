package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ResolvedRestore is everything a restore works with, frozen when it starts.
type ResolvedRestore struct {
	// Policy that was in force.
	// +optional
	Policy ResolvedPolicy `json:"policy,omitempty"`
	// Timeout of the restore.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// SpecDigest is what the target is stamped with: the digest of the RestoreSession's spec, or of what the RestoreBatch that made
	// it says.
	// +optional
	SpecDigest string `json:"specDigest,omitempty"`
	// Namespace of the Snapshot and the Repository.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Snapshot that is restored. Empty where the templates name VolumeSnapshots.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
	// SnapshotUID of it.
	// +optional
	SnapshotUID types.UID `json:"snapshotUID,omitempty"`
	// Repository it lies in.
	// +optional
	Repository ResolvedRepository `json:"repository,omitzero"`
	// TargetUID is the UID of the target, which confirm must name. Empty where new claims are made.
	// +optional
	TargetUID types.UID `json:"targetUID,omitempty"`
	// Task that moves the data.
	Task ResolvedTask `json:"task"`
	// Executor that runs it. Empty is Job.
	// +optional
	Executor Executor `json:"executor,omitempty"`
	// Hosts are what one Job each restores: a pod of a StatefulSet, a node of a DaemonSet, else the whole target.
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
	// Name: pod-<n> for a StatefulSet, the node for a DaemonSet, the component for new claims, else target.
	Name string `json:"name"`
	// Node that the Job must run on. Empty: any.
	// +optional
	Node string `json:"node,omitempty"`
	// SecurityContext that the Job runs with.
	SecurityContext MoverSecurityContext `json:"securityContext"`
	// Volumes, one component each.
	// +listType=map
	// +listMapKey=component
	// +kubebuilder:validation:MaxItems=32
	Volumes []ResolvedRestoreVolume `json:"volumes"`
}

// ResolvedRestoreVolume is a volume, or a database, that takes one component.
type ResolvedRestoreVolume struct {
	// Component that is restored.
	Component string `json:"component"`
	// Source is the component of the Snapshot, where it is that of another pod.
	// +optional
	Source string `json:"source,omitempty"`
	// ID of the component's data in the repository. It is the UID of a VolumeSnapshot.
	ID string `json:"id"`
	// Path inside the volume it is restored to. Empty is the root.
	// +optional
	Path string `json:"path,omitempty"`
	// ClaimName of the PersistentVolumeClaim.
	// +optional
	ClaimName string `json:"claimName,omitempty"`
	// ClaimUID of it. Empty for a claim that the restore makes.
	// +optional
	ClaimUID types.UID `json:"claimUID,omitempty"`
	// Template is the number of the volumeClaimTemplate, from 1, that the restore makes the claim of.
	// +optional
	Template int32 `json:"template,omitempty"`
	// HostPath of a DaemonSet's volume.
	// +optional
	HostPath string `json:"hostPath,omitempty"`
	// Stream of a database takes the place of a volume, unless claimName names the one in which its program makes a server's files.
	// +optional
	Stream *ResolvedStream `json:"stream,omitempty"`
	// Volume is the name that the volume has in the pod, where a sidecar restores it.
	// +optional
	Volume string `json:"volume,omitempty"`
	// Provision is how the claim is made of a VolumeSnapshot.
	// +optional
	Provision *ResolvedProvision `json:"provision,omitempty"`
	// Files and Bytes are what the component holds.
	// +optional
	Files int64 `json:"files,omitempty"`
	// Bytes of the component.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
}

// Mounted says whether there is a volume. A database that runs and is given its data has none.
func (v *ResolvedRestoreVolume) Mounted() bool { return v.Stream == nil || v.ClaimName != "" }

// ClaimBinding is when a claim that is made gets its volume.
// +kubebuilder:validation:Enum=Immediate;Consumer;Later
type ClaimBinding string

// The values of ClaimBinding.
const (
	// BindImmediate is a claim that gets its volume when it is made.
	BindImmediate ClaimBinding = "Immediate"
	// BindConsumer is one that gets it when a pod mounts it, which a Job of the restore does.
	BindConsumer ClaimBinding = "Consumer"
	// BindLater is one that is left to the first pod that mounts it.
	BindLater ClaimBinding = "Later"
)

// ResolvedProvision is how a claim is made of a VolumeSnapshot.
type ResolvedProvision struct {
	// VolumeSnapshot in the namespace of the restore.
	VolumeSnapshot string `json:"volumeSnapshot"`
	// StorageClassName of the claim. Empty: the default one.
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
	// Binding says when the claim gets its volume.
	Binding ClaimBinding `json:"binding"`
	// Replaces is the UID of the claim of that name that is deleted for it.
	// +optional
	Replaces types.UID `json:"replaces,omitempty"`
	// Import is the snapshot in the storage system that VolumeSnapshot is made of for the time of the restore, where the Snapshot is of
	// another namespace.
	// +optional
	Import *ResolvedImport `json:"import,omitempty"`
}

// ResolvedImport is a snapshot in a storage system.
type ResolvedImport struct {
	// VolumeSnapshot of it, in the namespace of the Snapshot.
	VolumeSnapshot string `json:"volumeSnapshot"`
	// Driver is the CSI driver.
	Driver string `json:"driver"`
	// SnapshotHandle is what the storage system calls it.
	SnapshotHandle string `json:"snapshotHandle"`
	// ClassName of its VolumeSnapshotClass.
	// +optional
	ClassName string `json:"className,omitempty"`
}
