package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LatestSnapshot is the value of RestoreDataSource.Snapshot that means the newest one that succeeded.
const LatestSnapshot = "latest"

// OverwritePolicy says what becomes of a file that a volume has already.
// +kubebuilder:validation:Enum=Overwrite;IfNewer;Never
type OverwritePolicy string

// The values of OverwritePolicy.
const (
	// OverwriteAlways replaces it.
	OverwriteAlways OverwritePolicy = "Overwrite"
	// OverwriteIfNewer replaces it where the file of the Snapshot was changed later.
	OverwriteIfNewer OverwritePolicy = "IfNewer"
	// OverwriteNever keeps it: only what is missing is restored.
	OverwriteNever OverwritePolicy = "Never"
)

// RestoreSessionSpec says what is restored where to. It never changes.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a RestoreSession's spec never changes: create another one"
// +kubebuilder:validation:XValidation:rule="has(self.target) != (has(self.addon) && self.addon.tasks.exists(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && size(t.targetVolumes.volumeClaimTemplates) > 0))",message="name a target to restore into, or targetVolumes.volumeClaimTemplates to make new claims, not both"
// +kubebuilder:validation:XValidation:rule="has(self.dataSource) ? !has(self.addon) || self.addon.tasks.all(t, !has(t.targetVolumes) || !has(t.targetVolumes.volumeClaimTemplates) || !t.targetVolumes.volumeClaimTemplates.exists(c, has(c.spec.dataSource) || has(c.spec.dataSourceRef))) : has(self.addon) && self.addon.tasks.all(t, has(t.targetVolumes) && has(t.targetVolumes.volumeClaimTemplates) && t.targetVolumes.volumeClaimTemplates.all(c, has(c.spec.dataSource) || has(c.spec.dataSourceRef)))",message="name a Snapshot in dataSource, or leave that out and name a VolumeSnapshot in spec.dataSource of each of targetVolumes.volumeClaimTemplates"
// +kubebuilder:validation:XValidation:rule="!has(self.dataSource) || !has(self.addon) || self.addon.tasks.all(t, !has(t.targetVolumes) || !has(t.targetVolumes.replicas))",message="targetVolumes.replicas is for templates that name VolumeSnapshots: which pods a Snapshot has data of stands in it, and dataSource.rules give it to others"
// +kubebuilder:validation:XValidation:rule="has(self.confirm) || !has(self.overwritePolicy) && !(has(self.deleteExtraFiles) && self.deleteExtraFiles)",message="overwritePolicy and deleteExtraFiles are for a volume that holds data: name its claim's UID in confirm"
// +kubebuilder:validation:XValidation:rule="!has(self.confirm) || has(self.target)",message="confirm is for a target that exists: new claims need none"
// +kubebuilder:validation:XValidation:rule="!(has(self.verify) && self.verify && has(self.overwritePolicy) && self.overwritePolicy == 'Never')",message="verify needs overwritePolicy Overwrite or IfNewer: a file that was kept can't be told from one that is wrong"
// +kubebuilder:validation:XValidation:rule="!has(self.target) || !has(self.target.kind) || self.target.kind in ['PersistentVolumeClaim', 'Deployment', 'StatefulSet', 'DaemonSet'] || !has(self.overwritePolicy) && !(has(self.deleteExtraFiles) && self.deleteExtraFiles) && !(has(self.verify) && self.verify)",message="overwritePolicy, deleteExtraFiles and verify are for volumes: what is in a database is replaced as its Addon says"
type RestoreSessionSpec struct {
	// Target is a PersistentVolumeClaim, Deployment, StatefulSet or DaemonSet of this namespace, or a database: its Service, or a
	// Secret of a type servicebinding.io/..., an AppBinding or a Cluster of CloudNativePG that tells of it. A claim takes one
	// component of the Snapshot; a workload takes each component into the volume that it was made of. Without a target the restore makes
	// new claims: see addon.tasks[].targetVolumes.volumeClaimTemplates. Its namespace is this one or left out.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.kind) && (self.kind in ['PersistentVolumeClaim', 'Service', 'Secret'] && (!has(self.apiGroup) || size(self.apiGroup) == 0) || self.kind in ['Deployment', 'StatefulSet', 'DaemonSet'] && has(self.apiGroup) && self.apiGroup == 'apps' || self.kind == 'AppBinding' && has(self.apiGroup) && self.apiGroup == 'appcatalog.appscode.com' || self.kind == 'Cluster' && has(self.apiGroup) && self.apiGroup == 'postgresql.cnpg.io')",message="the target of a restore is a PersistentVolumeClaim, a Deployment, StatefulSet or DaemonSet of apiGroup apps, or a database: a Service, a Secret of a type servicebinding.io/..., an AppBinding of apiGroup appcatalog.appscode.com or a Cluster of apiGroup postgresql.cnpg.io. Of a Pod, ReplicaSet or Job name the workload or the volume that it belongs to"
	Target *TypedObjectReference `json:"target,omitempty"`

	// DataSource is the Snapshot that is restored. Without it, each of addon.tasks[].targetVolumes.volumeClaimTemplates names in its
	// spec.dataSource a VolumeSnapshot of this namespace that the claim is made of.
	// +optional
	DataSource *RestoreDataSource `json:"dataSource,omitempty"`

	// Addon says how the data is moved. The default is pvc-addon, for a workload workload-addon, for a Cluster postgres-addon, with
	// the task logical-backup-restore, and the Addon for the type that an AppBinding or a Secret says. A Service has none.
	// +optional
	Addon *AddonInfo `json:"addon,omitempty"`

	// Executor that moves the data: a Job, or the Sidecar in the pods of a Deployment, StatefulSet or DaemonSet that a policy with
	// executor Sidecar backs up into the same repository. Those pods run, and have the volumes in use: confirm is needed. The
	// default is that of the Addon's task.
	// +optional
	Executor Executor `json:"executor,omitempty"`

	// Confirm allows to restore into a volume that holds data or is in use, or a database that holds data: the UID of the target. What becomes of files that
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

	// Verify reads back from the volume what was restored and compares it with the repository. A difference fails the restore
	// with the reason VerificationFailed.
	// +optional
	Verify bool `json:"verify,omitempty"`

	// RetryConfig repeats what failed. Without it nothing is repeated.
	// +optional
	RetryConfig *RetryConfig `json:"retryConfig,omitempty"`

	// RestoreTimeout ends a restore that takes longer, all attempts together.
	// +optional
	// +kubebuilder:default="6h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="the timeout is at least 1s"
	RestoreTimeout *metav1.Duration `json:"restoreTimeout,omitempty"`

	// Hooks that run before and after the restore, around all its attempts. They may be run again when the manager was
	// stopped in the middle of one, so running one twice must do no harm.
	// +optional
	Hooks *RestoreHooks `json:"hooks,omitempty"`
}

// RestoreDataSource names a Snapshot: by its name, as the newest one of a Repository, or by time.
// +kubebuilder:validation:XValidation:rule="has(self.snapshot) != has(self.pitr)",message="name a snapshot (or latest), or a time in pitr.targetTime, not both"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || !has(self.components)",message="rules say which components are restored: leave components out"
// +kubebuilder:validation:XValidation:rule="has(self.repository) || has(self.snapshot) && self.snapshot != 'latest'",message="snapshot: latest and pitr need a repository"
type RestoreDataSource struct {
	// Namespace of Repository and Snapshot. The default is that of the RestoreSession. In another one the Repository must have
	// the annotation backup.cairn.dev/restore-to with the RestoreSession's namespace, and the usagePolicy of its storage must
	// allow that namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"
	Namespace string `json:"namespace,omitempty"`

	// Repository that holds the Snapshot. Needed with snapshot: latest and with pitr.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Repository string `json:"repository,omitempty"`

	// Snapshot by name, or latest: the newest one of the repository that succeeded.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Snapshot string `json:"snapshot,omitempty"`

	// PITR chooses the newest Snapshot of the repository that succeeded at or before a time.
	// +optional
	PITR *PITR `json:"pitr,omitempty"`

	// Components to restore. The default is all. A PersistentVolumeClaim takes one.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2000
	// +kubebuilder:validation:items:MaxLength=253
	Components []string `json:"components,omitempty"`

	// Rules say which pods of a StatefulSet get data, and of which: a pod that no rule names gets none. The default is that each
	// gets its own. They are for a Snapshot of a StatefulSet, and its target is one, or new claims with ${POD_ORDINAL} in their
	// names.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Rules []RestoreRule `json:"rules,omitempty"`

	// EncryptionSecret of the repository. The default is that of the Repository. Its namespace is that of the RestoreSession
	// unless it is that of the storage.
	// +optional
	EncryptionSecret *ObjectReference `json:"encryptionSecret,omitempty"`
}

// PITR is a point in time.
type PITR struct {
	// TargetTime is the time, for example 2026-07-01T02:00:00Z.
	// +required
	TargetTime *metav1.Time `json:"targetTime"`

	// Exclusive leaves a Snapshot of exactly that time out.
	// +optional
	Exclusive bool `json:"exclusive,omitempty"`
}

// RestoreRule says which pods get the data of one.
type RestoreRule struct {
	// TargetHosts are the pods that get the data, as pod-<number>.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern="^pod-[0-9]+$"
	TargetHosts []string `json:"targetHosts"`

	// SourceHost is the pod that the data was backed up of, as pod-<number>. The default is each pod's own.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^pod-[0-9]+$"
	SourceHost string `json:"sourceHost,omitempty"`
}
