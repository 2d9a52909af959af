package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ResolvedPolicy is the policy that was in force.
type ResolvedPolicy struct {
	// Source that applied the invoker: PolicySync/<namespace>/<name>. Empty if it was applied by hand.
	// +optional
	Source string `json:"source,omitempty"`
	// Revision of that source, in Flux's form <branch>@sha1:<hash>.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Signer is the trusted key that has signed that revision. Empty if nobody verified that.
	// +optional
	Signer string `json:"signer,omitempty"`
	// Generation of the invoker.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// Digest of the invoker's spec: sha256:<hex>.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// ResolvedBackup is everything that a run works with, frozen when it starts.
type ResolvedBackup struct {
	// Policy that was in force.
	// +optional
	Policy ResolvedPolicy `json:"policy,omitempty"`
	// Schedule of the session, with a number for each H. Empty if the session has none. The folder of the run's record
	// depends on it.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Schedule string `json:"schedule,omitempty"`
	// RestorePoint is the BackupSession that began the restore point of this run. For a retry that is the first run.
	// Empty means this run itself.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	RestorePoint string `json:"restorePoint,omitempty"`
	// RestorePointUID is the UID of that BackupSession.
	// +optional
	RestorePointUID types.UID `json:"restorePointUID,omitempty"`
	// RestorePointTime is the slot of that BackupSession. A retry that succeeds counts as a success of this time.
	// +optional
	RestorePointTime *metav1.Time `json:"restorePointTime,omitempty"`
	// Timeout of the run.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// SuccessPolicy of the session. Without one, its defaults are in force.
	// +optional
	SuccessPolicy *SuccessPolicy `json:"successPolicy,omitempty"`
	// RetryDelay is the time between a failure and its retry.
	// +optional
	RetryDelay *metav1.Duration `json:"retryDelay,omitempty"`
	// ExecutionOrder of the targets. Empty is Parallel.
	// +optional
	ExecutionOrder ExecutionOrder `json:"executionOrder,omitempty"`
	// MaxParallel is how many targets are backed up at once. Without it, all are.
	// +optional
	MaxParallel *int32 `json:"maxParallel,omitempty"`
	// Targets of the run, in the order of the policy.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=500
	Targets []ResolvedTarget `json:"targets,omitempty"`
	// Hooks of the run with their templates. Only Cairn writes them.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Hooks *ResolvedHooks `json:"hooks,omitempty"`
}

// ResolvedTarget is one target of a run and how it is backed up.
type ResolvedTarget struct {
	// Name of the target in the BackupBatch, or the name of the BackupConfiguration.
	Name string `json:"name"`
	// AppRef is the target.
	AppRef TypedObjectReference `json:"appRef"`
	// Configuration that the target's Jobs are built from.
	Configuration string `json:"configuration"`
	// ConfigurationUID is the UID of the BackupConfiguration that Configuration names.
	// +optional
	ConfigurationUID types.UID `json:"configurationUID,omitempty"`
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
	Hosts []ResolvedHost `json:"hosts,omitempty"`
	// Copies are the temporary volumes that the Jobs read in place of the target's volumes, with copyMethod Snapshot or
	// Clone.
	// +optional
	// +listType=map
	// +listMapKey=claimName
	// +kubebuilder:validation:MaxItems=1000
	Copies []ResolvedCopy `json:"copies,omitempty"`
	// Repositories that the target is backed up to.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []ResolvedRepository `json:"repositories,omitempty"`
	// Timeout of the target, counted from its start. Without it, only the timeout of the run counts.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Hooks of the target with their templates. Only Cairn writes them.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Hooks *ResolvedHooks `json:"hooks,omitempty"`
	// Error that keeps the target from being backed up. All other fields are empty then.
	// +optional
	Error *ResolvedError `json:"error,omitempty"`
}

// ResolvedError is a mistake that was found before any pod started.
type ResolvedError struct {
	// Reason, in one word.
	Reason string `json:"reason"`
	// Message explains what is wrong and what to do.
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message"`
}

// ResolvedHost is what one Job backs up.
type ResolvedHost struct {
	// Name is pod-<n> for a StatefulSet, the node for a DaemonSet, else target.
	Name string `json:"name"`
	// Node that the Job must run on. Empty means any node.
	// +optional
	Node string `json:"node,omitempty"`
	// SecurityContext that the Job runs with.
	SecurityContext MoverSecurityContext `json:"securityContext"`
	// Volumes, one component each. A Job mounts at most 32 volumes.
	// +listType=map
	// +listMapKey=component
	// +kubebuilder:validation:MaxItems=1000
	Volumes []ResolvedVolume `json:"volumes"`
}

// ResolvedVolume is a volume, or the dump of a database, that becomes one component.
type ResolvedVolume struct {
	// Component is the name of the component.
	Component string `json:"component"`
	// ClaimName of the PersistentVolumeClaim.
	// +optional
	ClaimName string `json:"claimName,omitempty"`
	// HostPath of a DaemonSet's volume.
	// +optional
	HostPath string `json:"hostPath,omitempty"`
	// Path in the volume that is backed up. Empty means the root.
	// +optional
	Path string `json:"path,omitempty"`
	// MountPath of the volume in the Job's container, if it must be the same as in the server's container.
	// +optional
	MountPath string `json:"mountPath,omitempty"`
	// SubPath of the volume that is mounted there.
	// +optional
	SubPath string `json:"subPath,omitempty"`
	// Mounts are where the target's containers mount the volume. Absolute patterns of the parameter exclude can name
	// these paths.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Mounts []ResolvedMount `json:"mounts,omitempty"`
	// Volume is the name of the volume in the pod, if a sidecar backs it up.
	// +optional
	Volume string `json:"volume,omitempty"`
	// Stream of a database replaces the volume, unless claimName names the volume with the server's files.
	// +optional
	Stream *ResolvedStream `json:"stream,omitempty"`
	// Snapshot is the VolumeSnapshot that is made of the volume, with driver VolumeSnapshotter.
	// +optional
	Snapshot *ResolvedVolumeSnapshot `json:"snapshot,omitempty"`
}

// ResolvedMount is a path under which a container knows a volume.
type ResolvedMount struct {
	// Path in the container.
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path"`
	// SubPath of the volume that is mounted there. Empty means the root.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	SubPath string `json:"subPath,omitempty"`
}

// ResolvedVolumeSnapshot is a VolumeSnapshot that a run makes.
type ResolvedVolumeSnapshot struct {
	// Name of the VolumeSnapshot: <claim>-<unix seconds of the BackupSession's creation>.
	Name string `json:"name"`
	// ClassName of its VolumeSnapshotClass.
	ClassName string `json:"className"`
	// ContentDeletionPolicy is what happens to the snapshot in the storage system when Cairn removes it: Delete or
	// Retain.
	ContentDeletionPolicy string `json:"contentDeletionPolicy"`
}

// Mounted reports whether the Job mounts a volume. It mounts none if it only asks a database for its data, or if the
// storage system makes the backup.
func (v *ResolvedVolume) Mounted() bool {
	return v.Snapshot == nil && (v.Stream == nil || v.ClaimName != "")
}

// ResolvedRepository is a repository as a run uses it.
type ResolvedRepository struct {
	// Name of the Repository, in the run's namespace.
	Name string `json:"name"`
	// UID of the object.
	// +optional
	UID types.UID `json:"uid,omitempty"`
	// StorageRef names the BackupStorage, with namespace. Empty with driver VolumeSnapshotter.
	// +optional
	StorageRef ObjectReference `json:"storageRef,omitzero"`
	// Directory below the storage's prefix, normalised.
	// +optional
	Directory string `json:"directory,omitempty"`
	// EncryptionSecret names the Secret, with namespace.
	// +optional
	EncryptionSecret ObjectReference `json:"encryptionSecret,omitzero"`
	// Snapshot that the run makes in the Repository.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
}
