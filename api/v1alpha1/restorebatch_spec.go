package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LatestBackupSession is the value of RestoreBatchDataSource.BackupSession that means the newest restore point.
const LatestBackupSession = "latest"

// RestoreBatchSpec says which targets of a BackupBatch are restored, and from when. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a RestoreBatch's spec never changes: create another one"
// +kubebuilder:validation:XValidation:rule="!has(self.maxParallel) || !has(self.executionOrder) || self.executionOrder == 'Parallel'",message="maxParallel goes with executionOrder Parallel: leave it out, Sequential restores one target at a time"
type RestoreBatchSpec struct {
	// DataSource is the restore point that everything is restored from.
	// +required
	DataSource RestoreBatchDataSource `json:"dataSource"`

	// Targets to restore, by the names that they have in the BackupBatch. Each becomes a RestoreSession.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	Targets []RestoreBatchTarget `json:"targets"`

	// ExecutionOrder of the targets. Parallel restores them side by side. Sequential begins with a target when those before it
	// have ended, whether well or not, in the order of the list.
	// +optional
	// +kubebuilder:default=Parallel
	ExecutionOrder ExecutionOrder `json:"executionOrder,omitempty"`

	// MaxParallel is how many targets are restored at once. Each of the others begins, in the order of the list, when one has
	// ended. The default is all of them. Only with executionOrder Parallel.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxParallel *int32 `json:"maxParallel,omitempty"`

	// RestoreTimeout ends the restore of all targets together when it takes longer.
	// +optional
	// +kubebuilder:default="6h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout is at least 1s"
	RestoreTimeout *metav1.Duration `json:"restoreTimeout,omitempty"`

	// RetryConfig of the targets that have none of their own. Without it nothing is repeated.
	// +optional
	RetryConfig *RetryConfig `json:"retryConfig,omitempty"`

	// Hooks around all targets: the first run before any of them is restored, the last when all have ended.
	// +optional
	Hooks *RestoreHooks `json:"hooks,omitempty"`

	// ScaleDown names workloads that have no pods while the targets are restored: they are scaled to 0 after the preRestore hooks,
	// and back before the postRestore hooks where all targets were restored, or none was touched. Else they stay as they are, and
	// status.scaledDown says how to go on. One whose replicas something else manages (a HorizontalPodAutoscaler, a GitOps tool, an
	// operator), or may manage because somebody scaled it meanwhile, is refused. It takes the ClusterRole cairn-scaler in the namespace.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	ScaleDown []ScaleDown `json:"scaleDown,omitempty"`
}

// RestoreBatchDataSource names a restore point of a BackupBatch: what one run backed up, together with the runs that tried again
// what failed of it. It is found by its Snapshots; neither the BackupBatch nor its BackupSessions need to exist any more.
// +kubebuilder:validation:XValidation:rule="has(self.backupSession) != has(self.pitr)",message="name a backupSession (or latest), or a time in pitr.targetTime, not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.mixed) && self.mixed) || has(self.pitr) || self.backupSession == 'latest'",message="mixed goes with backupSession latest or pitr: a BackupSession is one restore point"
type RestoreBatchDataSource struct {
	// Namespace of the BackupBatch's Snapshots. The default is that of the RestoreBatch. In another one each Repository must
	// have the annotation backup.cairn.dev/restore-to with the RestoreBatch's namespace, and the usagePolicy of its storage must
	// allow that namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"
	Namespace string `json:"namespace,omitempty"`

	// BackupBatch that was backed up.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BackupBatch string `json:"backupBatch"`

	// Session of the BackupBatch whose restore points are looked at. The default is all.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Session string `json:"session,omitempty"`

	// BackupSession by name, or latest: the newest restore point in which every target of this RestoreBatch succeeded. The name of
	// a run that tried again what failed means the restore point that it is a part of.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	BackupSession string `json:"backupSession,omitempty"`

	// PITR chooses the newest restore point in which every target of this RestoreBatch succeeded, all of it at or before a time.
	// +optional
	PITR *PITR `json:"pitr,omitempty"`

	// Mixed takes for each target the newest Snapshot that succeeded, of whatever restore point: the targets may come from
	// different runs, and need not fit together.
	// +optional
	Mixed bool `json:"mixed,omitempty"`

	// EncryptionSecret of the Repositories. The default is that of each Repository. Its namespace is that of the RestoreBatch
	// unless it is that of the storage.
	// +optional
	EncryptionSecret *ObjectReference `json:"encryptionSecret,omitempty"`
}

// RestoreBatchTarget is one target to restore, and where to.
// +kubebuilder:validation:XValidation:rule="!has(self.target) || !(has(self.addon) && self.addon.tasks.exists(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && size(t.targetVolumes.volumeClaimTemplates) > 0))",message="name a target to restore into, or targetVolumes.volumeClaimTemplates to make new claims, not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.addon) && self.addon.tasks.exists(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && t.targetVolumes.volumeClaimTemplates.exists(c, has(c.spec.dataSource) || has(c.spec.dataSourceRef))))",message="a RestoreBatch restores Snapshots: leave dataSource of volumeClaimTemplates out"
// +kubebuilder:validation:XValidation:rule="has(self.confirm) || !has(self.overwritePolicy) && !(has(self.deleteExtraFiles) && self.deleteExtraFiles)",message="overwritePolicy and deleteExtraFiles are for a volume that holds data: name its claim's UID in confirm"
// +kubebuilder:validation:XValidation:rule="!has(self.confirm) || !(has(self.addon) && self.addon.tasks.exists(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && size(t.targetVolumes.volumeClaimTemplates) > 0))",message="confirm is for a target that exists: new claims need none"
// +kubebuilder:validation:XValidation:rule="!(has(self.verify) && self.verify && has(self.overwritePolicy) && self.overwritePolicy == 'Never')",message="verify needs overwritePolicy Overwrite or IfNewer: a file that was kept can't be told from one that is wrong"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || !has(self.components)",message="rules say which components are restored: leave components out"
type RestoreBatchTarget struct {
	// Name of the target in the BackupBatch.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	// Target that is restored into: a PersistentVolumeClaim, Deployment, StatefulSet or DaemonSet of this namespace. The default
	// is the one of the kind and name that was backed up. Where addon.tasks[].targetVolumes.volumeClaimTemplates is given, the
	// restore makes new claims.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.kind) && (self.kind in ['PersistentVolumeClaim', 'Service', 'Secret'] && (!has(self.apiGroup) || size(self.apiGroup) == 0) || self.kind in ['Deployment', 'StatefulSet', 'DaemonSet'] && has(self.apiGroup) && self.apiGroup == 'apps' || self.kind == 'AppBinding' && has(self.apiGroup) && self.apiGroup == 'appcatalog.appscode.com' || self.kind == 'Cluster' && has(self.apiGroup) && self.apiGroup == 'postgresql.cnpg.io')",message="the target of a restore is a PersistentVolumeClaim, a Deployment, StatefulSet or DaemonSet of apiGroup apps, or a database: a Service, a Secret of a type servicebinding.io/..., an AppBinding of apiGroup appcatalog.appscode.com or a Cluster of apiGroup postgresql.cnpg.io. Of a Pod, ReplicaSet or Job name the workload or the volume that it belongs to"
	Target *TypedObjectReference `json:"target,omitempty"`

	// Repository to restore from, where the target is backed up into several. The default is the first by name that has the
	// target's Snapshot of the restore point.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Repository string `json:"repository,omitempty"`

	// Components to restore. The default is all. A PersistentVolumeClaim takes one.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2000
	// +kubebuilder:validation:items:MaxLength=253
	Components []string `json:"components,omitempty"`

	// Rules say which pods of a StatefulSet get data, and of which: a pod that no rule names gets none. The default is that each
	// gets its own.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Rules []RestoreRule `json:"rules,omitempty"`

	// EncryptionSecret of the target's Repository. The default is dataSource.encryptionSecret, else that of the Repository.
	// +optional
	EncryptionSecret *ObjectReference `json:"encryptionSecret,omitempty"`

	// Addon says how the data is moved: see RestoreSession, whose default it has.
	// +optional
	Addon *AddonInfo `json:"addon,omitempty"`

	// Executor that moves the data: see RestoreSession. The default is that of the Addon's task.
	// +optional
	Executor Executor `json:"executor,omitempty"`

	// Confirm allows to restore into a volume that holds data or is in use: the UID of the target. What becomes of files that
	// are there already is said by overwritePolicy and deleteExtraFiles.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Confirm string `json:"confirm,omitempty"`

	// OverwritePolicy says what becomes of a file that is in the volume already. The default is Overwrite.
	// +optional
	OverwritePolicy OverwritePolicy `json:"overwritePolicy,omitempty"`

	// DeleteExtraFiles deletes what is in the volume and not in the Snapshot. What the parameters include and exclude leave out
	// is not touched.
	// +optional
	DeleteExtraFiles bool `json:"deleteExtraFiles,omitempty"`

	// Verify reads back from the volume what was restored and compares it with the repository. A difference fails the target
	// with the reason VerificationFailed.
	// +optional
	Verify bool `json:"verify,omitempty"`

	// RetryConfig repeats what failed of the target. The default is that of the RestoreBatch.
	// +optional
	RetryConfig *RetryConfig `json:"retryConfig,omitempty"`

	// RestoreTimeout ends the restore of this target when it takes longer, all attempts together. The default is the time that is
	// left of the whole restore, which ends it in any case.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout is at least 1s"
	RestoreTimeout *metav1.Duration `json:"restoreTimeout,omitempty"`

	// Hooks that run before and after the restore of this target, around all its attempts.
	// +optional
	Hooks *RestoreHooks `json:"hooks,omitempty"`
}
