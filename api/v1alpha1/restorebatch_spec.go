package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LatestBackupSession is the value of RestoreBatchDataSource.BackupSession for the newest restore point.
const LatestBackupSession = "latest"

// RestoreBatchSpec defines which targets of a BackupBatch are restored, and from which restore point. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a RestoreBatch's spec never changes: create another RestoreBatch"
// +kubebuilder:validation:XValidation:rule="!has(self.maxParallel) || !has(self.executionOrder) || self.executionOrder == 'Parallel'",message="maxParallel needs executionOrder Parallel: leave it out, Sequential restores one target at a time"
type RestoreBatchSpec struct {
	// DataSource is the restore point that the targets are restored from.
	// +required
	DataSource RestoreBatchDataSource `json:"dataSource"`

	// Targets to restore, by their names in the BackupBatch. Each becomes a RestoreSession.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	Targets []RestoreBatchTarget `json:"targets"`

	// ExecutionOrder of the targets. Parallel restores several at once. Sequential restores one after the other, in the
	// order of the list. A target that fails does not stop the targets after it.
	// +optional
	// +kubebuilder:default=Parallel
	ExecutionOrder ExecutionOrder `json:"executionOrder,omitempty"`

	// MaxParallel is how many targets are restored at once. The other targets wait and start in the order of the list.
	// The default is all targets. Only for executionOrder Parallel.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxParallel *int32 `json:"maxParallel,omitempty"`

	// RestoreTimeout ends the restore of all targets together when it takes longer. By default nothing does: a duration
	// does not tell a restore that hangs from one that has much to do.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout must be at least 1s"
	RestoreTimeout *metav1.Duration `json:"restoreTimeout,omitempty"`

	// RetryConfig of the targets that have none of their own. Without it nothing is retried.
	// +optional
	RetryConfig *RetryConfig `json:"retryConfig,omitempty"`

	// Hooks around all targets: preRestore before the first target is restored, postRestore after all have ended.
	// +optional
	Hooks *RestoreHooks `json:"hooks,omitempty"`

	// ScaleDown names workloads that must have no pods while targets are restored. They are scaled to 0 after the
	// preRestore hooks. Before the postRestore hooks they are scaled up again if all targets were restored or none was
	// touched. Otherwise they stay at 0, and status.scaledDown explains how to go on. A workload is refused if
	// something else manages its replicas (a HorizontalPodAutoscaler, a GitOps tool, an operator), or could do so
	// because somebody scaled it meanwhile. The namespace needs a binding of the ClusterRole cairn-scaler.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	ScaleDown []ScaleDown `json:"scaleDown,omitempty"`
}

// RestoreBatchDataSource names a restore point of a BackupBatch: the backups of one run and its retries. Cairn finds it
// by its Snapshots. The BackupBatch and its BackupSessions need not exist any more.
// +kubebuilder:validation:XValidation:rule="has(self.backupSession) != has(self.pitr)",message="set backupSession (a name or latest) or pitr.targetTime, not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.mixed) && self.mixed) || has(self.pitr) || self.backupSession == 'latest'",message="mixed needs backupSession latest or pitr: a named BackupSession is one restore point"
// +kubebuilder:validation:XValidation:rule="!(has(self.allowDamaged) && self.allowDamaged) || has(self.backupSession) && self.backupSession != 'latest'",message="allowDamaged needs the name of a BackupSession: latest and pitr never take a damaged Snapshot"
type RestoreBatchDataSource struct {
	// Namespace of the BackupBatch's Snapshots. The default is the namespace of the RestoreBatch. To restore from
	// another namespace, each Repository needs the annotation backup.cairn.dev/restore-to with the RestoreBatch's
	// namespace, and the usagePolicy of its storage must allow that namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"
	Namespace string `json:"namespace,omitempty"`

	// BackupBatch that was backed up.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BackupBatch string `json:"backupBatch"`

	// Session of the BackupBatch whose restore points are considered. The default is all sessions.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Session string `json:"session,omitempty"`

	// BackupSession that made the restore point, by name, or latest: the newest restore point in which every target of
	// this RestoreBatch succeeded and is not known to be damaged. The name of a retry means the restore point that it
	// belongs to.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	BackupSession string `json:"backupSession,omitempty"`

	// PITR chooses the newest restore point in which every target of this RestoreBatch succeeded, entirely at or before
	// a point in time.
	// +optional
	PITR *PITR `json:"pitr,omitempty"`

	// AllowDamaged restores what is left of the named restore point although data of its Snapshots is known to be gone
	// (their integrity is false), or although they are being deleted. Without it such a restore is refused with reason
	// SnapshotDamaged. The default is false.
	// +optional
	AllowDamaged bool `json:"allowDamaged,omitempty"`

	// Mixed takes the newest successful Snapshot of each target, from any restore point. The targets can come from
	// different runs, and their data might not fit together. The default is false.
	// +optional
	Mixed bool `json:"mixed,omitempty"`

	// EncryptionSecret of the Repositories. The default is the Secret of each Repository. It must be in the namespace
	// of the RestoreBatch or of the storage.
	// +optional
	EncryptionSecret *ObjectReference `json:"encryptionSecret,omitempty"`
}

// RestoreBatchTarget defines one target to restore, and where to.
// +kubebuilder:validation:XValidation:rule="!has(self.target) || !(has(self.addon) && self.addon.tasks.exists(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && size(t.targetVolumes.volumeClaimTemplates) > 0))",message="name a target to restore into, or targetVolumes.volumeClaimTemplates to make new claims, not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.addon) && self.addon.tasks.exists(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && t.targetVolumes.volumeClaimTemplates.exists(c, has(c.spec.dataSource) || has(c.spec.dataSourceRef))))",message="a RestoreBatch restores Snapshots: leave dataSource of volumeClaimTemplates out"
// +kubebuilder:validation:XValidation:rule="has(self.confirm) || !has(self.overwritePolicy) && !(has(self.deleteExtraFiles) && self.deleteExtraFiles)",message="overwritePolicy and deleteExtraFiles are for a volume that holds data: set confirm to its claim's UID"
// +kubebuilder:validation:XValidation:rule="!has(self.confirm) || !(has(self.addon) && self.addon.tasks.exists(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && size(t.targetVolumes.volumeClaimTemplates) > 0))",message="confirm is for a target that exists: leave it out for new claims"
// +kubebuilder:validation:XValidation:rule="!(has(self.verify) && self.verify && has(self.overwritePolicy) && self.overwritePolicy == 'Never')",message="verify needs overwritePolicy Overwrite or IfNewer: it can't tell a kept file from a wrong one"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || !has(self.components)",message="rules select the components to restore: leave components out"
type RestoreBatchTarget struct {
	// Name of the target in the BackupBatch.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	// Target that is restored into: a PersistentVolumeClaim, Deployment, StatefulSet or DaemonSet of this namespace.
	// The default is the object of the kind and name that was backed up. With
	// addon.tasks[].targetVolumes.volumeClaimTemplates the restore makes new claims instead.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.kind) && (self.kind in ['PersistentVolumeClaim', 'Service', 'Secret'] && (!has(self.apiGroup) || size(self.apiGroup) == 0) || self.kind in ['Deployment', 'StatefulSet', 'DaemonSet'] && has(self.apiGroup) && self.apiGroup == 'apps' || self.kind == 'AppBinding' && has(self.apiGroup) && self.apiGroup == 'appcatalog.appscode.com' || self.kind == 'Cluster' && has(self.apiGroup) && self.apiGroup == 'postgresql.cnpg.io')",message="the target of a restore must be a PersistentVolumeClaim, a Deployment, StatefulSet or DaemonSet of apiGroup apps, or a database: a Service, a Secret of a type servicebinding.io/..., an AppBinding of apiGroup appcatalog.appscode.com or a Cluster of apiGroup postgresql.cnpg.io. Instead of a Pod, ReplicaSet or Job, name the workload or volume that it belongs to"
	Target *TypedObjectReference `json:"target,omitempty"`

	// Repository to restore from, if the target is backed up to several. The default is the first one by name that has
	// the target's Snapshot of the restore point.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Repository string `json:"repository,omitempty"`

	// Components to restore. The default is all. A PersistentVolumeClaim takes one component.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2000
	// +kubebuilder:validation:items:MaxLength=253
	Components []string `json:"components,omitempty"`

	// Rules define which pods of a StatefulSet get data, and from which pod. A pod that no rule names gets none.
	// Without rules, each pod gets its own data.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Rules []RestoreRule `json:"rules,omitempty"`

	// EncryptionSecret of the target's Repository. The default is dataSource.encryptionSecret, else the Secret of the
	// Repository.
	// +optional
	EncryptionSecret *ObjectReference `json:"encryptionSecret,omitempty"`

	// Addon defines how the data is moved. For the default see RestoreSession.
	// +optional
	Addon *AddonInfo `json:"addon,omitempty"`

	// Executor that moves the data: see RestoreSession. The default is the executor of the Addon's task.
	// +optional
	Executor Executor `json:"executor,omitempty"`

	// Confirm allows restoring into a volume that holds data or is in use. Its value is the UID of the target. It
	// counts once: to run the same restore again, write a slash and another word behind the UID. overwritePolicy and
	// deleteExtraFiles define what happens to existing files.
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
	// target with reason VerificationFailed. The default is false.
	// +optional
	Verify bool `json:"verify,omitempty"`

	// RetryConfig retries what failed of the target. The default is the RestoreBatch's retryConfig.
	// +optional
	RetryConfig *RetryConfig `json:"retryConfig,omitempty"`

	// RestoreTimeout ends the restore of this target, all attempts together, when it takes longer. The default is the
	// time left of the whole restore, which always ends the target too.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout must be at least 1s"
	RestoreTimeout *metav1.Duration `json:"restoreTimeout,omitempty"`

	// Hooks that run before and after the restore of this target, around all its attempts.
	// +optional
	Hooks *RestoreHooks `json:"hooks,omitempty"`
}
