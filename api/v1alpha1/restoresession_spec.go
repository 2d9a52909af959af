package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LatestSnapshot is the value of RestoreDataSource.Snapshot for the newest Snapshot that succeeded.
const LatestSnapshot = "latest"

// OverwritePolicy is what happens to a file that already exists in a volume.
// +kubebuilder:validation:Enum=Overwrite;IfNewer;Never
type OverwritePolicy string

// The values of OverwritePolicy.
const (
	// OverwriteAlways replaces the file.
	OverwriteAlways OverwritePolicy = "Overwrite"
	// OverwriteIfNewer replaces the file if the file of the Snapshot was changed later.
	OverwriteIfNewer OverwritePolicy = "IfNewer"
	// OverwriteNever keeps the file: only missing files are restored.
	OverwriteNever OverwritePolicy = "Never"
)

// RestoreSessionSpec defines what is restored, and where to. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a RestoreSession's spec never changes: create another RestoreSession"
// +kubebuilder:validation:XValidation:rule="has(self.target) != (has(self.addon) && self.addon.tasks.exists(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && size(t.targetVolumes.volumeClaimTemplates) > 0))",message="name a target to restore into, or targetVolumes.volumeClaimTemplates to make new claims, not both"
// +kubebuilder:validation:XValidation:rule="has(self.dataSource) ? !has(self.addon) || self.addon.tasks.all(t, !has(t.targetVolumes) || !has(t.targetVolumes.volumeClaimTemplates) || !t.targetVolumes.volumeClaimTemplates.exists(c, has(c.spec.dataSource) || has(c.spec.dataSourceRef))) : has(self.addon) && self.addon.tasks.all(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && t.targetVolumes.volumeClaimTemplates.all(c, has(c.spec.dataSource) || has(c.spec.dataSourceRef)))",message="name a Snapshot in dataSource, or leave dataSource out and name a VolumeSnapshot in spec.dataSource of each of targetVolumes.volumeClaimTemplates"
// +kubebuilder:validation:XValidation:rule="!has(self.dataSource) || !has(self.addon) || self.addon.tasks.all(t, !has(t.targetVolumes) || !has(t.targetVolumes.replicas))",message="targetVolumes.replicas is for templates that name VolumeSnapshots: a Snapshot itself defines which pods it has data of, and dataSource.rules give the data to other pods"
// +kubebuilder:validation:XValidation:rule="has(self.confirm) || !has(self.overwritePolicy) && !(has(self.deleteExtraFiles) && self.deleteExtraFiles)",message="overwritePolicy and deleteExtraFiles are for a volume that holds data: set confirm to its claim's UID"
// +kubebuilder:validation:XValidation:rule="!has(self.confirm) || has(self.target)",message="confirm is for a target that exists: leave it out for new claims"
// +kubebuilder:validation:XValidation:rule="!(has(self.verify) && self.verify && has(self.overwritePolicy) && self.overwritePolicy == 'Never')",message="verify needs overwritePolicy Overwrite or IfNewer: it can't tell a kept file from a wrong one"
// +kubebuilder:validation:XValidation:rule="!has(self.target) || !has(self.target.kind) || self.target.kind in ['PersistentVolumeClaim', 'Deployment', 'StatefulSet', 'DaemonSet'] || !has(self.overwritePolicy) && !(has(self.deleteExtraFiles) && self.deleteExtraFiles) && !(has(self.verify) && self.verify)",message="overwritePolicy, deleteExtraFiles and verify are for volumes: the Addon defines how the data of a database is replaced"
type RestoreSessionSpec struct {
	// Target is a PersistentVolumeClaim, Deployment, StatefulSet or DaemonSet of this namespace, or a database. A
	// database is named by its Service, or by a Secret of a type servicebinding.io/..., an AppBinding or a Cluster of
	// CloudNativePG that describes it. A claim takes one component of the Snapshot. A workload takes each component
	// into the volume that it was made from. Without a target the restore makes new claims: see
	// addon.tasks[].targetVolumes.volumeClaimTemplates. The target's namespace must be this namespace or empty.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.kind) && (self.kind in ['PersistentVolumeClaim', 'Service', 'Secret'] && (!has(self.apiGroup) || size(self.apiGroup) == 0) || self.kind in ['Deployment', 'StatefulSet', 'DaemonSet'] && has(self.apiGroup) && self.apiGroup == 'apps' || self.kind == 'AppBinding' && has(self.apiGroup) && self.apiGroup == 'appcatalog.appscode.com' || self.kind == 'Cluster' && has(self.apiGroup) && self.apiGroup == 'postgresql.cnpg.io')",message="the target of a restore must be a PersistentVolumeClaim, a Deployment, StatefulSet or DaemonSet of apiGroup apps, or a database: a Service, a Secret of a type servicebinding.io/..., an AppBinding of apiGroup appcatalog.appscode.com or a Cluster of apiGroup postgresql.cnpg.io. Instead of a Pod, ReplicaSet or Job, name the workload or volume that it belongs to"
	Target *TypedObjectReference `json:"target,omitempty"`

	// DataSource is the Snapshot that is restored. Without it, each of addon.tasks[].targetVolumes.volumeClaimTemplates
	// must name in its spec.dataSource a VolumeSnapshot of this namespace that the claim is made from.
	// +optional
	DataSource *RestoreDataSource `json:"dataSource,omitempty"`

	// Addon defines how the data is moved. The default is the task logical-backup-restore of pvc-addon for a
	// PersistentVolumeClaim, of workload-addon for a workload, of postgres-addon for a Cluster, and of the Addon for
	// the database type that an AppBinding or Secret states. A Service has no default.
	// +optional
	Addon *AddonInfo `json:"addon,omitempty"`

	// Executor that moves the data: a Job, or the Sidecar in the pods of a Deployment, StatefulSet or DaemonSet that a
	// policy with executor Sidecar backs up to the same repository. Those pods run and use the volumes, so confirm is
	// required. The default is the executor of the Addon's task.
	// +optional
	Executor Executor `json:"executor,omitempty"`

	// Confirm allows restoring into a volume that holds data or is in use, or into a database that holds data. Its
	// value is the UID of the target. It counts once: to run the same restore again, write a slash and another word
	// behind the UID. overwritePolicy and deleteExtraFiles define what happens to existing files.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Confirm string `json:"confirm,omitempty"`

	// OverwritePolicy is what happens to a file that already exists in the volume: Overwrite (the default) replaces it,
	// IfNewer replaces it if the file of the Snapshot was changed later, Never keeps it. A file that the Snapshot does
	// not have stays, but for the log and journal of a database of SQLite that is replaced.
	// +optional
	OverwritePolicy OverwritePolicy `json:"overwritePolicy,omitempty"`

	// DeleteExtraFiles deletes files in the volume that are not in the Snapshot. It keeps what the parameters include
	// and exclude leave out, and what the backup left out: what its parameters excluded, sockets, files that it could
	// not read, and what lies in directories that changed during it. If the Snapshot does not say what its backup left
	// out, only what is in the place of another entry goes. The default is false.
	// +optional
	DeleteExtraFiles bool `json:"deleteExtraFiles,omitempty"`

	// Verify reads the restored data back from the volume and compares it with the repository. A difference fails the
	// restore with reason VerificationFailed. The default is false.
	// +optional
	Verify bool `json:"verify,omitempty"`

	// RetryConfig retries what failed. Without it nothing is retried.
	// +optional
	RetryConfig *RetryConfig `json:"retryConfig,omitempty"`

	// RestoreTimeout ends the restore, all attempts together, when it takes longer. By default nothing does: a duration
	// does not tell a restore that hangs from one that has much to do.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout must be at least 1s"
	RestoreTimeout *metav1.Duration `json:"restoreTimeout,omitempty"`

	// Hooks that run before and after the restore, around all its attempts. A hook can run twice if the manager was
	// stopped while it ran, so running it twice must do no harm.
	// +optional
	Hooks *RestoreHooks `json:"hooks,omitempty"`
}

// RestoreDataSource names a Snapshot: by its name, as the newest Snapshot of a Repository, or by time.
// +kubebuilder:validation:XValidation:rule="has(self.snapshot) != has(self.pitr)",message="set snapshot (a name or latest) or pitr.targetTime, not both"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || !has(self.components)",message="rules select the components to restore: leave components out"
// +kubebuilder:validation:XValidation:rule="has(self.repository) || has(self.snapshot) && self.snapshot != 'latest'",message="snapshot: latest and pitr need a repository"
// +kubebuilder:validation:XValidation:rule="!(has(self.allowDamaged) && self.allowDamaged) || has(self.snapshot) && self.snapshot != 'latest'",message="allowDamaged needs the name of a Snapshot: latest and pitr never take a damaged one"
type RestoreDataSource struct {
	// Namespace of Repository and Snapshot. The default is the namespace of the RestoreSession. To restore from another
	// namespace, the Repository needs the annotation backup.cairn.dev/restore-to with the RestoreSession's namespace,
	// and the usagePolicy of its storage must allow that namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"
	Namespace string `json:"namespace,omitempty"`

	// Repository that contains the Snapshot. Required with snapshot: latest and with pitr.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Repository string `json:"repository,omitempty"`

	// Snapshot by name, or latest: the newest Snapshot of the repository that succeeded and is not known to be damaged.
	// A restore of latest is refused if that one was made of a half restored target.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Snapshot string `json:"snapshot,omitempty"`

	// PITR chooses the newest Snapshot of the repository that succeeded at or before a point in time, and is not known
	// to be damaged.
	// +optional
	PITR *PITR `json:"pitr,omitempty"`

	// AllowDamaged restores what is left of the named Snapshot although data of it is known to be gone (its integrity
	// is false), or although it is being deleted. Without it such a restore is refused with reason SnapshotDamaged. The
	// default is false.
	// +optional
	AllowDamaged bool `json:"allowDamaged,omitempty"`

	// Components to restore. The default is all. A PersistentVolumeClaim takes one component.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2000
	// +kubebuilder:validation:items:MaxLength=253
	Components []string `json:"components,omitempty"`

	// Rules define which pods of a StatefulSet get data, and from which pod. A pod that no rule names gets none.
	// Without rules, each pod gets its own data. Rules need a Snapshot of a StatefulSet, and as target a StatefulSet or
	// new claims with ${POD_ORDINAL} in their names.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Rules []RestoreRule `json:"rules,omitempty"`

	// EncryptionSecret of the repository. The default is the Secret of the Repository. It must be in the namespace of
	// the RestoreSession or of the storage.
	// +optional
	EncryptionSecret *ObjectReference `json:"encryptionSecret,omitempty"`
}

// PITR is a point in time.
type PITR struct {
	// TargetTime is the time, for example 2026-07-01T02:00:00Z.
	// +required
	TargetTime *metav1.Time `json:"targetTime"`

	// Exclusive leaves out a Snapshot of exactly that time. The default is false.
	// +optional
	Exclusive bool `json:"exclusive,omitempty"`
}

// RestoreRule defines which pods get the data of one pod.
type RestoreRule struct {
	// TargetHosts are the pods that get the data, as pod-<number>.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern="^pod-[0-9]+$"
	TargetHosts []string `json:"targetHosts"`

	// SourceHost is the pod whose data is restored, as pod-<number>. By default each pod gets its own data.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^pod-[0-9]+$"
	SourceHost string `json:"sourceHost,omitempty"`
}
