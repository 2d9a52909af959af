package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Labels of objects that Cairn makes or applies.
const (
	// LabelManagedBy has the value ManagedByCairn on every object that Cairn makes.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedByCairn is the value of LabelManagedBy.
	ManagedByCairn = "cairn"

	// LabelInvokerKind, LabelInvokerName and LabelSession are on BackupSessions, CronJobs, Snapshots and Jobs. On a
	// Repository that Cairn made, the first two name the policy that uses it, or that used it last.
	LabelInvokerKind = Group + "/invoker-kind"
	// LabelInvokerName is the name of the invoker. A name longer than 63 characters is cut and gets a hash.
	LabelInvokerName = Group + "/invoker-name"
	// LabelSession is the name of the session.
	LabelSession = Group + "/session"
	// LabelBatch is on the child BackupConfigurations of a BackupBatch: the name of the BackupBatch.
	LabelBatch = Group + "/batch"
	// LabelConfiguration is on Jobs and Snapshots: the BackupConfiguration that they were built from.
	LabelConfiguration = Group + "/configuration"
	// LabelBackupSession is on Jobs and Snapshots.
	LabelBackupSession = Group + "/backup-session"
	// LabelRestorePoint is on Snapshots of a BackupBatch: the name of the run that began their restore point. A run and
	// its retries form one restore point.
	LabelRestorePoint = Group + "/restore-point"
	// LabelRestorePointUID is on the same Snapshots: the UID of that run. A later run can have the same name.
	LabelRestorePointUID = Group + "/restore-point-uid"
	// LabelRestoreBatch is on the RestoreSessions of a RestoreBatch, and on the Jobs of its hooks: the name of the
	// RestoreBatch.
	LabelRestoreBatch = Group + "/restore-batch"
	// LabelRestoreSession is on Jobs, and on the temporary objects of a restore.
	LabelRestoreSession = Group + "/restore-session"
	// LabelHook is on the Jobs of hooks: the name of the hook.
	LabelHook = Group + "/hook"
	// LabelSnapshot is on Jobs and VolumeSnapshots.
	LabelSnapshot = Group + "/snapshot"
	// LabelCopy is on the temporary VolumeSnapshots and claims that movers read: the name of the BackupSession.
	LabelCopy = Group + "/copy"
	// LabelReads is on the pods of movers that must share a node because they read the same volume, which only one node
	// can mount: the name of its claim, or of its copy.
	LabelReads = Group + "/reads"
	// LabelRepository is on Snapshots and init Jobs.
	LabelRepository = Group + "/repository"
	// LabelStorage is on init Jobs of a BackupStorage.
	LabelStorage = Group + "/storage"
	// LabelInitStorage is on init Jobs of Repositories: "<namespace>.<name>" of their BackupStorage. A value longer
	// than 63 characters is cut and gets a hash.
	LabelInitStorage = Group + "/init-storage"
	// LabelKeeper is on the Lease, the Job and the pods of a keeper: the name of the Lease.
	LabelKeeper = Group + "/keeper"
	// LabelScan is on the ConfigMaps with which a keeper answers a scan: the name of the keeper's Job.
	LabelScan = Group + "/scan"
	// LabelSidecar is on a workload with a sidecar, on the sidecar's Secret, and on the Snapshots and RestoreSessions
	// that the sidecar works on: the name of that Secret.
	LabelSidecar = Group + "/sidecar"
	// LabelLedger is on the ConfigMaps of a Ledger's outbox.
	LabelLedger = Group + "/ledger"

	// LabelPolicyMayUse on a Secret, with the value "true", allows policy to name it where a PolicySync says
	// spec.secrets: Labelled. Whoever may write Secrets gives that consent: policy from Git can't.
	LabelPolicyMayUse = Group + "/policy-may-use"

	// LabelSyncName and LabelSyncNamespace name the PolicySync that applied an object. They never hold a revision.
	LabelSyncName = "policysync." + Group + "/name"
	// LabelSyncNamespace is the namespace of that PolicySync.
	LabelSyncNamespace = "policysync." + Group + "/namespace"

	// recordedBy is the prefix of the labels that RecordedByLabel returns.
	recordedBy = "recorded-by." + Group + "/"
)

// RecordedByLabel returns the key of the label on a Namespace, with the value "true", that consents to be recorded by
// the Ledgers of another namespace: "recorded-by.backup.cairn.dev/<namespace of the Ledgers>".
func RecordedByLabel(ledgers string) string { return recordedBy + ledgers }

// ConsentsToRecords reports whether a Namespace with these labels consents to be recorded by the Ledgers of a
// namespace.
func ConsentsToRecords(labels map[string]string, ledgers string) bool {
	return labels[RecordedByLabel(ledgers)] == "true"
}

// Annotations.
const (
	// AnnotationAllowDelete on a PolicySync allows the removals, or the changes of Secrets, with this digest, once: see
	// status.consent.
	AnnotationAllowDelete = Group + "/allow-delete"
	// AnnotationDeparture on a Repository is the deletionPolicy that it had before the policy that goes replaced it, in
	// order to delete the Repository next: "<deletionPolicy>/<UID of the Repository>/<kind>/<name>/<UID>", where the
	// last three are those of that policy.
	AnnotationDeparture = Group + "/departure"
	// AnnotationPrivilegedMovers on a Namespace, with the value "true", allows movers there that run as root, mount
	// host paths, or have an SELinux user, role or type beyond the restricted Pod Security profile. Policy can't set
	// it.
	AnnotationPrivilegedMovers = Group + "/privileged-movers"
	// AnnotationRecord is on the objects of records. No controller acts on an object with this annotation.
	AnnotationRecord = Group + "/record"
	// AnnotationRecordUID on the objects of records is the UID that the object had in the cluster.
	AnnotationRecordUID = Group + "/record-uid"
	// AnnotationRecordCut on an object of a record says what was cut from its spec and status, because the object is
	// too large for a file.
	AnnotationRecordCut = Group + "/record-cut"
	// AnnotationOutboxRecords on a ConfigMap of a Ledger's outbox is the number of records in it.
	AnnotationOutboxRecords = Group + "/outbox-records"
	// AnnotationOutboxBytes on a ConfigMap of a Ledger's outbox is the size of what it holds together with its parts.
	AnnotationOutboxBytes = Group + "/outbox-bytes"
	// AnnotationOutboxParts on a ConfigMap of a Ledger's outbox is the number of ConfigMaps that its content is spread
	// over. It is absent if that is one.
	AnnotationOutboxParts = Group + "/outbox-parts"
	// AnnotationOutboxPart on such a ConfigMap, except for the first, is its number. The first owns it.
	AnnotationOutboxPart = Group + "/outbox-part"
	// AnnotationMovers on Snapshots and RestoreSessions defines which Job is allowed to write which component:
	// "<component>=<job>,<component>=<job>". The admission policy reads it.
	AnnotationMovers = Group + "/movers"
	// AnnotationCronJob on a BackupSession names the CronJob whose pod created it. The admission policy reads it.
	AnnotationCronJob = Group + "/cronjob"
	// AnnotationRun on a BackupSession is its own UID. An annotation goes along when an object is exported and created
	// again, so another UID means that the BackupSession is a copy of an old run, and does not run again.
	AnnotationRun = Group + "/run"
	// AnnotationTrigger on a BackupConfiguration or BackupBatch starts a run: "<session>", or "<session>/<token>" to
	// start another run of the same session. A change of the value counts, also back to one that it had before: see
	// status.lastHandledTrigger.
	AnnotationTrigger = Group + "/trigger"
	// AnnotationReplacedBy on a BackupSession ends it, because concurrencyPolicy is Replace: "<backupsession>/<unix
	// seconds>", the run that replaces it and the time of the replacement.
	AnnotationReplacedBy = Group + "/replaced-by"
	// AnnotationRestored on a PersistentVolumeClaim, or on a database's Lease, says which RestoreSession filled it: the
	// digest of its spec, the UID of the claim, the UID of its PersistentVolume, the number of claims that were filled
	// and the name of the RestoreSession, with slashes in between. It says nothing about a claim or volume with another
	// UID, and nothing to a RestoreSession of another name.
	AnnotationRestored = Group + "/restored"
	// AnnotationConfirmed on a PersistentVolumeClaim, or on a database's Lease, says which restores have used their
	// confirmation: the beginnings of the digests of their specs, or for a target of a RestoreBatch of its confirmation
	// digest, with commas in between and the last one at the end. An identical restore, of whatever name, needs another
	// confirmation.
	AnnotationConfirmed = Group + "/confirmed"
	// AnnotationMade on a PersistentVolumeClaim marks a claim that a RestoreSession made from a VolumeSnapshot and that
	// gets its volume when its first pod mounts it: the digest of the RestoreSession's spec, the UID of the
	// VolumeSnapshot, the UID of the claim and the name of the RestoreSession, with slashes in between.
	AnnotationMade = Group + "/made"
	// AnnotationRestoring on a PersistentVolumeClaim is the UID of the only RestoreSession that is allowed to write
	// into it.
	AnnotationRestoring = Group + "/restoring"
	// AnnotationHalfRestored on a PersistentVolumeClaim, or on a database's Lease, says that a restore began to write
	// into it and has not ended well: the name of the RestoreSession, its UID and the UID of the claim or database,
	// with slashes in between. The first UID is empty if another restore has left a part, too. A restore that ends well
	// removes it. On a Snapshot that was made meanwhile it is the name of the RestoreSession: latest and pitr do not
	// take that Snapshot without a word.
	AnnotationHalfRestored = Group + "/half-restored"
	// AnnotationRestoreSession on a PersistentVolumeClaim is the UID of the RestoreSession that made it.
	AnnotationRestoreSession = Group + "/restore-session"
	// AnnotationRestoreTo on a Repository names the namespaces, separated by commas, that are allowed to restore its
	// Snapshots. * allows all.
	AnnotationRestoreTo = Group + "/restore-to"
	// AnnotationComponent on a volumeClaimTemplate of a restore is the component that goes into it.
	AnnotationComponent = Group + "/component"
	// AnnotationReplace on a volumeClaimTemplate of a restore from VolumeSnapshots lists the UIDs, separated by commas,
	// of the claims that the restore is allowed to delete and replace. On such a claim it is the claim's own UID: the
	// admission policy requires it.
	AnnotationReplace = Group + "/replace"
	// AnnotationTerminating on a PersistentVolumeClaim that a restore replaces is when the manager saw that it is being
	// deleted, if the clock of the API server says that this is still to come.
	AnnotationTerminating = Group + "/terminating"
	// AnnotationVolumeSnapshotClass on a PersistentVolumeClaim, or else on its StorageClass, names its
	// VolumeSnapshotClass.
	AnnotationVolumeSnapshotClass = Group + "/volume-snapshot-class"
	// AnnotationSnapshotUID on a VolumeSnapshot, or on the Job of a backup, is the UID of the Snapshot that it belongs
	// to.
	AnnotationSnapshotUID = Group + "/snapshot-uid"
	// AnnotationJob on an object that a Job makes is the name of that Job. The admission policy requires it.
	AnnotationJob = Group + "/job"
	// AnnotationTask on a mover's pod is its task: versioned JSON, from 64 KiB on as base64 of gzip.
	AnnotationTask = Group + "/task"
	// AnnotationSidecarTask on a Snapshot or RestoreSession is the work of sidecars there, and which sidecars do it:
	// versioned JSON. It is removed when they are done.
	AnnotationSidecarTask = Group + "/sidecar-task"
	// AnnotationSidecarState on a sidecar's Secret is the manager's state of the sidecar: JSON.
	AnnotationSidecarState = Group + "/sidecar-state"
	// AnnotationSidecarCredentials lists the identities of the tokens that a sidecar is allowed to use:
	// "JTI=<uuid>,JTI=<uuid>". It is on the sidecar's Secret, and on the Snapshots and RestoreSessions that the sidecar
	// works on. The admission policy reads it.
	AnnotationSidecarCredentials = Group + "/sidecar-credentials"
	// AnnotationAcknowledgeDropped on a Ledger says that the namespaces of status.dropped with this digest are not
	// recorded on purpose.
	AnnotationAcknowledgeDropped = Group + "/acknowledge-dropped"
	// AnnotationReplacesDefault on a default RetentionPolicy names the UIDs of the defaults that it replaces, separated
	// by commas: see status.formerDefault of a Repository.
	AnnotationReplacesDefault = Group + "/replaces-default"
	// AnnotationDropRecords on a Ledger that is being deleted, with the UID of the Ledger as its value, gives up the
	// records that it has not pushed.
	AnnotationDropRecords = Group + "/drop-records"
	// AnnotationAdopt on a Repository adopts a directory that another cluster or another Repository owns. Its value
	// names the directory and that owner, as the reason DirectoryTaken says, and counts for no other.
	AnnotationAdopt = Group + "/adopt"
	// AnnotationScan on a Repository asks for a scan: Cairn makes the Snapshots again that lie in the backend but are
	// missing in the cluster. Each value is handled once: see status.lastScan. On a Snapshot it names the request of
	// the scan that made it.
	AnnotationScan = Group + "/scan"
	// AnnotationRebuilt on a Snapshot that a scan made is the UID that the Snapshot had when it was backed up.
	AnnotationRebuilt = Group + "/rebuilt"
	// AnnotationGiveUp on a BackupStorage, Repository or Snapshot that is being deleted, with the UID of the object as
	// its value, gives up the removal of its data and lets the object go. The data stays in the backend.
	AnnotationGiveUp = Group + "/give-up"
	// AnnotationAttempts on the Lease of a keeper is the number of failed Jobs in a row, of components that a check has
	// time for, and whether a Repository needs a Job of its own.
	AnnotationAttempts = Group + "/attempts"
	// AnnotationShared on an encryption Secret in a BackupStorage's namespace, with the value "true", allows its use in
	// the namespaces that the storage's usagePolicy allows. Those namespaces get the password.
	AnnotationShared = Group + "/shared"
	// AnnotationSpecDigest on generated objects is the digest of the input that they were generated from.
	AnnotationSpecDigest = Group + "/spec-digest"
	// AnnotationFormerDigests on a RestoreSession that a RestoreBatch made holds, separated by commas, the digests that
	// earlier versions would have given to it: a target with the stamp of one is already restored.
	AnnotationFormerDigests = Group + "/former-spec-digests"
	// AnnotationConfirmationDigest on a RestoreSession that a RestoreBatch made is the digest of what its confirmation
	// allows: the data source of the RestoreBatch and this target. Other targets do not change it.
	AnnotationConfirmationDigest = Group + "/confirmation-digest"
)

// Finalizers, one for each duty.
const (
	// FinalizerRecord holds an ended BackupSession, RestoreSession or RestoreBatch, or a removed Snapshot, until it is
	// in the outbox of every matching Ledger.
	FinalizerRecord = Group + "/record"
	// FinalizerCancel holds a running BackupSession or RestoreSession until its Jobs are gone and its result is
	// written. It holds a RestoreBatch until its RestoreSessions have ended.
	FinalizerCancel = Group + "/cancel"
	// FinalizerWipe holds a Snapshot or Repository with deletionPolicy WipeOut until its data is removed or given up.
	// It holds a BackupStorage until nothing uses it.
	FinalizerWipe = Group + "/wipe"
	// FinalizerRepositories holds a BackupConfiguration or BackupBatch that is being deleted until the deletionPolicy
	// of its Repositories was carried out. The BackupConfigurations of a BackupBatch do not have it.
	FinalizerRepositories = Group + "/repositories"
	// FinalizerPrune holds a PolicySync until its deletionPolicy was carried out.
	FinalizerPrune = Group + "/prune"
	// FinalizerFlush holds a Ledger until its outbox is pushed or given up.
	FinalizerFlush = Group + "/flush"
)

// Names of the ServiceAccounts in the namespaces of targets, and of their ClusterRoles.
const (
	// MoverServiceAccount is the account of movers' Jobs.
	MoverServiceAccount = "cairn-mover"
	// SnapshotterServiceAccount is the account of the Jobs that make VolumeSnapshots, and volumes from them.
	SnapshotterServiceAccount = "cairn-snapshotter"
	// TriggerServiceAccount is the account of the pods of CronJobs.
	TriggerServiceAccount = "cairn-trigger"
	// ScalerClusterRole allows the manager to scale Deployments and StatefulSets. Only the owner of a namespace binds
	// it there.
	ScalerClusterRole = "cairn-scaler"
	// SidecarInjectorClusterRole allows the manager to add sidecars to workloads, and to make tokens for them. The
	// owner of a namespace binds it there to the manager, or the cluster's administrator binds it everywhere.
	SidecarInjectorClusterRole = "cairn-sidecar-injector"
	// SidecarServiceAccount is the account of sidecars. The manager makes their tokens.
	SidecarServiceAccount = "cairn-sidecar"
	// PolicyServiceAccount is the account that a PolicySync with spec.serviceAccountName acts as. The owner of a
	// namespace makes it and gives it rights. Other names need the component config/impersonation.
	PolicyServiceAccount = "cairn-policy"
	// HookServiceAccount is the account that the manager impersonates to run commands in pods. Only the owner of a
	// namespace binds it to HookClusterRole. The account itself need not exist.
	HookServiceAccount = "cairn-hook"
	// HookClusterRole allows finding pods and running commands in them.
	HookClusterRole = "cairn-hook-exec"
)

// HasRecordAnnotation reports whether an object with these annotations is a record. No controller acts on records.
func HasRecordAnnotation(annotations map[string]string) bool {
	_, ok := annotations[AnnotationRecord]
	return ok
}

// InForce reports whether others have to reckon with an object: it is neither being deleted nor a record.
func InForce(o metav1.Object) bool {
	return o.GetDeletionTimestamp().IsZero() && !HasRecordAnnotation(o.GetAnnotations())
}
