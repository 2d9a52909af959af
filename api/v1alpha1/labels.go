package v1alpha1

// Labels of objects that Cairn makes or applies.
const (
	// LabelManagedBy has the value ManagedByCairn on everything that Cairn makes.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedByCairn is the value of LabelManagedBy.
	ManagedByCairn = "cairn"

	// LabelInvokerKind, LabelInvokerName and LabelSession are on BackupSessions, CronJobs, Snapshots and Jobs.
	LabelInvokerKind = Group + "/invoker-kind"
	// LabelInvokerName is the name of the invoker, cut to 63 characters with a hash where it is longer.
	LabelInvokerName = Group + "/invoker-name"
	// LabelSession is the name of the session.
	LabelSession = Group + "/session"
	// LabelBatch is on the child BackupConfigurations of a BackupBatch: its name.
	LabelBatch = Group + "/batch"
	// LabelConfiguration is on Jobs and Snapshots: the BackupConfiguration that they were built from.
	LabelConfiguration = Group + "/configuration"
	// LabelBackupSession is on Jobs and Snapshots.
	LabelBackupSession = Group + "/backup-session"
	// LabelRestorePoint is on Snapshots of a BackupBatch: the name of the run that began their restore point. A run and those
	// that tried again what failed of it are one restore point.
	LabelRestorePoint = Group + "/restore-point"
	// LabelRestoreBatch is on the RestoreSessions that a RestoreBatch makes, and on the Jobs of its hooks: its name.
	LabelRestoreBatch = Group + "/restore-batch"
	// LabelRestoreSession is on Jobs, and on what a restore makes for its own time.
	LabelRestoreSession = Group + "/restore-session"
	// LabelHook is on the Jobs of hooks: the name of the hook.
	LabelHook = Group + "/hook"
	// LabelSnapshot is on Jobs and VolumeSnapshots.
	LabelSnapshot = Group + "/snapshot"
	// LabelCopy is on the temporary VolumeSnapshots and claims that movers read: the name of the BackupSession.
	LabelCopy = Group + "/copy"
	// LabelReads is on the movers' pods that must share a node, because each reads the same copy of a volume: the name of it.
	LabelReads = Group + "/reads"
	// LabelRepository is on Snapshots and init Jobs.
	LabelRepository = Group + "/repository"
	// LabelStorage is on init Jobs of a BackupStorage.
	LabelStorage = Group + "/storage"
	// LabelInitStorage is on init Jobs of Repositories: "<namespace>.<name>" of their BackupStorage, cut with a hash where it is
	// longer than 63 characters.
	LabelInitStorage = Group + "/init-storage"
	// LabelKeeper is on the Lease, the Job and the pods of a keeper: the name of the Lease.
	LabelKeeper = Group + "/keeper"
	// LabelSidecar is on a workload that has a sidecar, on the sidecar's Secret, and on the Snapshots and RestoreSessions that it
	// has work in: the name of that Secret.
	LabelSidecar = Group + "/sidecar"
	// LabelLedger is on the ConfigMaps of a Ledger's outbox.
	LabelLedger = Group + "/ledger"

	// LabelSyncName and LabelSyncNamespace name the PolicySync that applied an object. They never hold a revision.
	LabelSyncName = "policysync." + Group + "/name"
	// LabelSyncNamespace is the namespace of that PolicySync.
	LabelSyncNamespace = "policysync." + Group + "/namespace"
)

// Annotations.
const (
	// AnnotationAllowDelete on a PolicySync allows the removal set with this digest.
	AnnotationAllowDelete = Group + "/allow-delete"
	// AnnotationPrivilegedMovers on a Namespace, with the value "true", allows movers there that run as root, mount host
	// paths, or have an SELinux user, role or type beyond the restricted Pod Security profile. Policy can't set it.
	AnnotationPrivilegedMovers = Group + "/privileged-movers"
	// AnnotationRecord is on the objects of records. No controller acts on an object that has it.
	AnnotationRecord = Group + "/record"
	// AnnotationRecordUID on the objects of records is the UID that the object had in the cluster.
	AnnotationRecordUID = Group + "/record-uid"
	// AnnotationOutboxRecords on a ConfigMap of a Ledger's outbox is the number of records in it.
	AnnotationOutboxRecords = Group + "/outbox-records"
	// AnnotationMovers on Snapshots and RestoreSessions says which Job may write which component:
	// "<component>=<job>,<component>=<job>". The admission policy reads it.
	AnnotationMovers = Group + "/movers"
	// AnnotationCronJob on a BackupSession names the CronJob whose pod created it. The admission policy reads it.
	AnnotationCronJob = Group + "/cronjob"
	// AnnotationTrigger on a BackupConfiguration or BackupBatch starts a run: "<session>", or "<session>/<token>" where it is set
	// another time. A value is acted on once: see status.lastHandledTrigger.
	AnnotationTrigger = Group + "/trigger"
	// AnnotationReplacedBy on a BackupSession ends it, because concurrencyPolicy is Replace: "<backupsession>/<unix seconds>",
	// the run that takes its place and since when.
	AnnotationReplacedBy = Group + "/replaced-by"
	// AnnotationRestored on a PersistentVolumeClaim is the digest of the RestoreSession's spec that filled it.
	AnnotationRestored = Group + "/restored"
	// AnnotationMade on a PersistentVolumeClaim says that a RestoreSession made it of a VolumeSnapshot and left it to its first pod: the
	// digest of that session's spec, a slash and the UID of the VolumeSnapshot.
	AnnotationMade = Group + "/made"
	// AnnotationRestoring on a PersistentVolumeClaim is the UID of the RestoreSession that may write into it: there is one at a
	// time.
	AnnotationRestoring = Group + "/restoring"
	// AnnotationRestoreSession on a PersistentVolumeClaim is the UID of the RestoreSession that made it.
	AnnotationRestoreSession = Group + "/restore-session"
	// AnnotationRestoreTo on a Repository names the namespaces, separated by commas, that may restore its Snapshots; * is all.
	AnnotationRestoreTo = Group + "/restore-to"
	// AnnotationComponent on a volumeClaimTemplate of a restore is the component that goes into it.
	AnnotationComponent = Group + "/component"
	// AnnotationReplace on a volumeClaimTemplate of a restore from VolumeSnapshots are the UIDs, separated by commas, of the claims that
	// may be deleted to have their names. On such a claim it is the claim's own UID: the admission policy demands that.
	AnnotationReplace = Group + "/replace"
	// AnnotationVolumeSnapshotClass on a PersistentVolumeClaim, or else on its StorageClass, names the VolumeSnapshotClass for it.
	AnnotationVolumeSnapshotClass = Group + "/volume-snapshot-class"
	// AnnotationSnapshotUID on a VolumeSnapshot is the UID of the Snapshot that it belongs to.
	AnnotationSnapshotUID = Group + "/snapshot-uid"
	// AnnotationJob on what a Job makes is the name of that Job. The admission policy demands it.
	AnnotationJob = Group + "/job"
	// AnnotationTask on a mover's pod is its task: versioned JSON.
	AnnotationTask = Group + "/task"
	// AnnotationSidecarTask on a Snapshot or RestoreSession is what sidecars are to do there, and which of them: versioned JSON.
	// It goes when they are done.
	AnnotationSidecarTask = Group + "/sidecar-task"
	// AnnotationSidecarState on a sidecar's Secret is what the manager knows of the sidecar: JSON.
	AnnotationSidecarState = Group + "/sidecar-state"
	// AnnotationSidecarCredentials on a sidecar's Secret, and on the Snapshots and RestoreSessions that the sidecar has work in,
	// are the identities of the tokens that it may use: "JTI=<uuid>,JTI=<uuid>". The admission policy reads it.
	AnnotationSidecarCredentials = Group + "/sidecar-credentials"
	// AnnotationDropRecords on a Ledger that is being deleted, with the value "true", gives up what it has not pushed.
	AnnotationDropRecords = Group + "/drop-records"
	// AnnotationAdopt on a Repository, with the directory as its value, takes over a directory that another cluster or
	// another Repository owns.
	AnnotationAdopt = Group + "/adopt"
	// AnnotationGiveUp on a BackupStorage, Repository or Snapshot that is being deleted, with the value "true", lets the object
	// go although its data could not be removed. The data stays in the backend.
	AnnotationGiveUp = Group + "/give-up"
	// AnnotationAttempts on the Lease of a keeper is the number of Jobs in a row that failed.
	AnnotationAttempts = Group + "/attempts"
	// AnnotationShared on an encryption Secret in a BackupStorage's namespace, with the value "true", lets the namespaces that
	// the storage's usagePolicy allows use it. It hands them the password.
	AnnotationShared = Group + "/shared"
	// AnnotationSpecDigest on generated objects is the digest of what they were generated from.
	AnnotationSpecDigest = Group + "/spec-digest"
)

// Finalizers, one for each duty.
const (
	// FinalizerRecord holds an ended BackupSession, RestoreSession or RestoreBatch, or a removed Snapshot, until every matching
	// Ledger has it in its outbox.
	FinalizerRecord = Group + "/record"
	// FinalizerCancel holds a running BackupSession or RestoreSession until its Jobs are gone and its end is written, and a
	// RestoreBatch until its RestoreSessions have ended.
	FinalizerCancel = Group + "/cancel"
	// FinalizerWipe holds a Snapshot or Repository with deletionPolicy WipeOut until its data is removed or given up, and a
	// BackupStorage until nothing uses it.
	FinalizerWipe = Group + "/wipe"
	// FinalizerRepositories holds a BackupConfiguration that is being deleted until its Repositories were dealt with as
	// their deletionPolicy says.
	FinalizerRepositories = Group + "/repositories"
	// FinalizerPrune holds a PolicySync until its deletionPolicy was carried out.
	FinalizerPrune = Group + "/prune"
	// FinalizerFlush holds a Ledger until its outbox is pushed or given up.
	FinalizerFlush = Group + "/flush"
)

// Names of the ServiceAccounts in the namespaces of targets, and of the ClusterRoles that they are bound to.
const (
	// MoverServiceAccount is what Jobs run as.
	MoverServiceAccount = "cairn-mover"
	// SnapshotterServiceAccount is what the Jobs run as that make VolumeSnapshots, and volumes of them.
	SnapshotterServiceAccount = "cairn-snapshotter"
	// TriggerServiceAccount is what the pods of CronJobs run as.
	TriggerServiceAccount = "cairn-trigger"
	// ScalerClusterRole allows the manager to scale Deployments and StatefulSets. Only the owner of a namespace binds it there.
	ScalerClusterRole = "cairn-scaler"
	// SidecarInjectorClusterRole allows the manager to add sidecars to workloads, and to make tokens for them. Only the owner of a
	// namespace binds it there to the manager, or the cluster's administrator everywhere.
	SidecarInjectorClusterRole = "cairn-sidecar-injector"
	// SidecarServiceAccount is what sidecars use the API as, with tokens that the manager makes for them.
	SidecarServiceAccount = "cairn-sidecar"
	// HookServiceAccount is whom the manager impersonates to run commands in pods. Only the owner of a namespace binds it to
	// HookClusterRole; the account itself need not exist.
	HookServiceAccount = "cairn-hook"
	// HookClusterRole allows to find pods and to run commands in them.
	HookClusterRole = "cairn-hook-exec"
)

// HasRecordAnnotation says whether an object with these annotations is a record, on which no controller acts.
func HasRecordAnnotation(annotations map[string]string) bool {
	_, ok := annotations[AnnotationRecord]
	return ok
}
