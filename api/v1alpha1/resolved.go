package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ResolvedPolicy is the policy that was in force.
type ResolvedPolicy struct {
	// Source that applied the invoker: PolicySync/<namespace>/<name>. Empty when it was applied by hand.
	// +optional
	Source string `json:"source,omitempty"`
	// Revision of that source, in Flux's form <branch>@sha1:<hash>.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Generation of the invoker.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// Digest of the invoker's spec: sha256:<hex>.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// ResolvedBackup is everything a run works with, frozen when it starts.
type ResolvedBackup struct {
	// Policy that was in force.
	// +optional
	Policy ResolvedPolicy `json:"policy,omitempty"`
	// Schedule of the session, with a number for each H. Empty where the session has none. The folder of the run's record
	// depends on it.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Schedule string `json:"schedule,omitempty"`
	// RestorePoint is the BackupSession that began the restore point which this run adds to: of a run that tries again what
	// failed, the first of them. Empty: the run itself.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	RestorePoint string `json:"restorePoint,omitempty"`
	// Timeout of the run.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// SuccessPolicy of the session. Without one its defaults are in force.
	// +optional
	SuccessPolicy *SuccessPolicy `json:"successPolicy,omitempty"`
	// RetryDelay is how long after a failure what failed is tried again.
	// +optional
	RetryDelay *metav1.Duration `json:"retryDelay,omitempty"`
	// ExecutionOrder of the targets. Empty is Parallel.
	// +optional
	ExecutionOrder ExecutionOrder `json:"executionOrder,omitempty"`
	// MaxParallel is how many targets are backed up at once. Without it, all of them are.
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
	// Name of the target: the batch's, or the BackupConfiguration's own.
	Name string `json:"name"`
	// AppRef is the target.
	AppRef TypedObjectReference `json:"appRef"`
	// Configuration that the target's Jobs are built from.
	Configuration string `json:"configuration"`
	// ConfigurationUID of it.
	// +optional
	ConfigurationUID types.UID `json:"configurationUID,omitempty"`
	// Task that moves the data.
	Task ResolvedTask `json:"task"`
	// Executor that runs it. Empty is Job.
	// +optional
	Executor Executor `json:"executor,omitempty"`
	// Hosts are what one Job each backs up: a pod of a StatefulSet, a node of a DaemonSet, else the whole target.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	Hosts []ResolvedHost `json:"hosts,omitempty"`
	// Copies are the temporary volumes that the Jobs read in place of the target's, where copyMethod is Snapshot or Clone.
	// +optional
	// +listType=map
	// +listMapKey=claimName
	// +kubebuilder:validation:MaxItems=1000
	Copies []ResolvedCopy `json:"copies,omitempty"`
	// Repositories that are backed up into.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Repositories []ResolvedRepository `json:"repositories,omitempty"`
	// Timeout of the target, counted from when it begins. Without it, only the run's counts.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Hooks of the target with their templates. Only Cairn writes them.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Hooks *ResolvedHooks `json:"hooks,omitempty"`
	// Error that keeps the target from being backed up; the rest is empty then.
	// +optional
	Error *ResolvedError `json:"error,omitempty"`
}

// ResolvedError is a mistake that was found before any pod started.
type ResolvedError struct {
	// Reason, one word.
	Reason string `json:"reason"`
	// Message says what is wrong and what to do.
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message"`
}

// ResolvedHost is what one Job backs up.
type ResolvedHost struct {
	// Name: pod-<n> for a StatefulSet, the node for a DaemonSet, else target.
	Name string `json:"name"`
	// Node that the Job must run on. Empty: any.
	// +optional
	Node string `json:"node,omitempty"`
	// SecurityContext that the Job runs with.
	SecurityContext MoverSecurityContext `json:"securityContext"`
	// Volumes, one component each: at most 32 where the Job mounts them.
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
	// Path inside the volume that is backed up. Empty is the root.
	// +optional
	Path string `json:"path,omitempty"`
	// MountPath is where the Job's container sees the volume, where it is that of the server's container.
	// +optional
	MountPath string `json:"mountPath,omitempty"`
	// SubPath of the volume that is mounted there.
	// +optional
	SubPath string `json:"subPath,omitempty"`
	// Volume is the name that the volume has in the pod, where a sidecar backs it up.
	// +optional
	Volume string `json:"volume,omitempty"`
	// Stream of a database takes the place of a volume, unless claimName names the one with the server's files.
	// +optional
	Stream *ResolvedStream `json:"stream,omitempty"`
	// Snapshot is the VolumeSnapshot that is made of the volume, with driver VolumeSnapshotter.
	// +optional
	Snapshot *ResolvedVolumeSnapshot `json:"snapshot,omitempty"`
}

// ResolvedVolumeSnapshot is a VolumeSnapshot that a run makes.
type ResolvedVolumeSnapshot struct {
	// Name of it: <claim>-<unix seconds of the BackupSession's creation>.
	Name string `json:"name"`
	// ClassName of its VolumeSnapshotClass.
	ClassName string `json:"className"`
	// ContentDeletionPolicy is what becomes of the snapshot in the storage system when Cairn removes it: Delete or Retain.
	ContentDeletionPolicy string `json:"contentDeletionPolicy"`
}

// Mounted says whether the Job mounts a volume: not of a database that is only asked for its data, and not where the storage system
// makes the backup.
func (v *ResolvedVolume) Mounted() bool {
	return v.Snapshot == nil && (v.Stream == nil || v.ClaimName != "")
}

// ResolvedRepository is a repository as a run uses it.
type ResolvedRepository struct {
	// Name of the Repository, in the run's namespace.
	Name string `json:"name"`
	// UID of it.
	// +optional
	UID types.UID `json:"uid,omitempty"`
	// StorageRef names the BackupStorage, with namespace. With driver VolumeSnapshotter there is none.
	// +optional
	StorageRef ObjectReference `json:"storageRef,omitzero"`
	// Directory below the storage's prefix, normalised.
	// +optional
	Directory string `json:"directory,omitempty"`
	// EncryptionSecret, with namespace.
	// +optional
	EncryptionSecret ObjectReference `json:"encryptionSecret,omitzero"`
	// Snapshot that the run makes there.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
}
