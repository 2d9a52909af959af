package v1alpha1

// Condition types beside Ready, Reconciling and Stalled.
const (
	// ConditionValidationPassed is whether a policy or a restore can work at all.
	ConditionValidationPassed = "ValidationPassed"
	// ConditionBackendInitialized is whether metadata.yaml is in the backend.
	ConditionBackendInitialized = "BackendInitialized"
	// ConditionBackendSecretFound is whether the backend's Secret has its keys.
	ConditionBackendSecretFound = "BackendSecretFound"
	// ConditionRepositoryInitialized is whether repository.yaml is in the directory.
	ConditionRepositoryInitialized = "RepositoryInitialized"
	// ConditionSchedulerEnsured is whether a session's CronJob exists.
	ConditionSchedulerEnsured = "SchedulerEnsured"
	// ConditionSlotsMissed is True while slots of a session pass without a run.
	ConditionSlotsMissed = "SlotsMissed"
	// ConditionProtected is whether the last success of every session with a schedule is within its deadline, and has
	// backed up all that the policy asks for.
	ConditionProtected = "Protected"
	// ConditionDefaultIgnored is True if an older object is the default of the namespace already, or if a default that
	// other namespaces can use is the default of its own namespace alone.
	ConditionDefaultIgnored = "DefaultIgnored"
	// ConditionResolvedBackendChanged is True if Cairn would now infer another backend for a policy than when its
	// repositories were made. The repositories stay where they are.
	ConditionResolvedBackendChanged = "ResolvedBackendChanged"
	// ConditionTargetsOverlap is True if a session of a BackupBatch backs up the same data for two of its targets.
	ConditionTargetsOverlap = "TargetsOverlap"
	// ConditionSelectorFindsNothing is True while a selector of a BackupBatch finds nothing to back up.
	ConditionSelectorFindsNothing = "SelectorFindsNothing"
	// ConditionRepositoriesRetained is True while Repositories stay that a BackupConfiguration or BackupBatch no longer
	// uses.
	ConditionRepositoriesRetained = "RepositoriesRetained"
	// ConditionClockSkewed is True on a Snapshot if a mover reported times outside of the run, or if the clock of the
	// manager was wrong.
	ConditionClockSkewed = "ClockSkewed"
	// ConditionPartial is True if some but not all of a session's targets, or of a restore's attributes, succeeded, if
	// a backup lacks something or may lack it, or if the Snapshot of a restore holds less than others of its target.
	ConditionPartial = "Partial"
	// ConditionCreationRefused is True on a run or restore while the API server refuses an object that it needs, or a
	// change or deletion without which it can't go on, and since when.
	ConditionCreationRefused = "CreationRefused"
	// ConditionBacklogged is True while a Ledger's outbox is full.
	ConditionBacklogged = "Backlogged"
	// ConditionRecordsMissing is True while the branch of a Ledger lacks records that it had elsewhere, because the API
	// server refuses to let the objects wait for them.
	ConditionRecordsMissing = "RecordsMissing"
	// ConditionRetained is False on a Snapshot that a retention rule removes, and names the rule.
	ConditionRetained = "Retained"
	// ConditionRetentionApplied is whether all Snapshots that the RetentionPolicy of a Repository removes are gone.
	ConditionRetentionApplied = "RetentionApplied"
	// ConditionMaintained is whether the last maintenance of a Repository succeeded.
	ConditionMaintained = "Maintained"
	// ConditionScanned is whether the last scan of a Repository succeeded.
	ConditionScanned = "Scanned"
	// ConditionChecked is whether the last check of a Repository's data could be done, and no restore has met damage
	// since. status.integrity has its result.
	ConditionChecked = "Checked"
	// ConditionWiped is the progress of removing the data of an object that is being deleted.
	ConditionWiped = "Wiped"
	// ConditionRemovalBegan is True on an object that is being deleted once Cairn has begun to remove its data: a part
	// of the data can be gone, whatever ConditionWiped says.
	ConditionRemovalBegan = "RemovalBegan"
	// ConditionVolumeSnapshotsAtRisk is True on a Repository, and on the BackupConfigurations that use it, if the data
	// of its newest VolumeSnapshots goes with these objects or with their namespace.
	ConditionVolumeSnapshotsAtRisk = "VolumeSnapshotsAtRisk"
	// ConditionSourceVerified is whether a trusted key has signed the newest revision of a PolicySync with spec.verify.
	ConditionSourceVerified = "SourceVerified"
	// ConditionConsentMissing is True on a Ledger that selects namespaces that do not consent to be recorded.
	ConditionConsentMissing = "ConsentMissing"
	// ConditionNamespacesDropped is True on a Ledger that no longer records namespaces that it has recorded.
	ConditionNamespacesDropped = "NamespacesDropped"
	// ConditionBranchWatched is True on a Ledger while others name its branch as policy, but do not stop it.
	ConditionBranchWatched = "BranchWatched"
	// ConditionDeletionBlocked is True while the deletion guard holds a removal back.
	ConditionDeletionBlocked = "DeletionBlocked"
	// ConditionPreBackupHooksExecutionSucceeded is the result of the preBackup hooks.
	ConditionPreBackupHooksExecutionSucceeded = "PreBackupHooksExecutionSucceeded"
	// ConditionPostBackupHooksExecutionSucceeded is the result of the postBackup hooks.
	ConditionPostBackupHooksExecutionSucceeded = "PostBackupHooksExecutionSucceeded"
	// ConditionPreRestoreHooksExecutionSucceeded is the result of the preRestore hooks.
	ConditionPreRestoreHooksExecutionSucceeded = "PreRestoreHooksExecutionSucceeded"
	// ConditionPostRestoreHooksExecutionSucceeded is the result of the postRestore hooks.
	ConditionPostRestoreHooksExecutionSucceeded = "PostRestoreHooksExecutionSucceeded"
)

// Reasons of conditions, phases and events. Where Flux or KubeStash has a reason for the same case, Cairn uses that
// reason.
const (
	ReasonSucceeded            = "Succeeded"
	ReasonProgressing          = "Progressing"
	ReasonProgressingWithRetry = "ProgressingWithRetry"
	ReasonSuspended            = "Suspended"
	ReasonFailed               = "Failed"

	// PolicySync and Ledger: Git.
	ReasonAuthenticationFailed = "AuthenticationFailed"
	ReasonHostKeyMismatch      = "HostKeyMismatch"
	ReasonRepositoryNotFound   = "RepositoryNotFound"
	ReasonRefNotFound          = "RefNotFound"
	ReasonUnreachable          = "Unreachable"
	ReasonInvalidURL           = "InvalidURL"
	ReasonSecretNotFound       = "SecretNotFound"
	ReasonInvalidSecret        = "InvalidSecret"
	ReasonSourceTooLarge       = "SourceTooLarge"
	ReasonGitOperationFailed   = "GitOperationFailed"

	// PolicySync: signatures.
	ReasonInvalidCommitSignature  = "InvalidCommitSignature"
	ReasonInvalidTagSignature     = "InvalidTagSignature"
	ReasonInvalidVerificationMode = "InvalidVerificationMode"

	// PolicySync: build and apply.
	ReasonInvalidPath          = "InvalidPath"
	ReasonBuildFailed          = "BuildFailed"
	ReasonValidationFailed     = "ValidationFailed"
	ReasonReconcileSucceeded   = "ReconciliationSucceeded"
	ReasonReconcileFailed      = "ReconciliationFailed"
	ReasonPruneFailed          = "PruneFailed"
	ReasonDeletionBlocked      = "DeletionBlocked"
	ReasonInventoryTooLarge    = "InventoryTooLarge"
	ReasonOwnedByOther         = "OwnedByOther"
	ReasonSecretInUse          = "SecretInUse"
	ReasonTooManyPolicySyncs   = "TooManyPolicySyncs"
	ReasonForbidden            = "Forbidden"
	ReasonServiceAccountAbsent = "ServiceAccountNotFound"
	ReasonRecordsBranch        = "RecordsBranch"
	// ReasonSecretNotLabelled means that a Secret lacks the label LabelPolicyMayUse, which a PolicySync with
	// spec.secrets: Labelled demands. Runs, storages and Ledgers have it, too.
	ReasonSecretNotLabelled = "SecretNotLabelled"
	// ReasonImpersonationForbidden means that the manager is not allowed to act as an account.
	ReasonImpersonationForbidden = "ImpersonationForbidden"

	// Ledger.
	ReasonWatchedBranch    = "WatchedBranch"
	ReasonClusterNameTaken = "ClusterNameTaken"
	ReasonHistoryRewritten = "HistoryRewritten"
	ReasonPushRefused      = "PushRefused"
	ReasonBacklogged       = "Backlogged"
	ReasonPushed           = "Pushed"
	ReasonOutboxNotWritten = "OutboxNotWritten"
	// ReasonBranchTooLarge means that the branch of the records has more than the manager reads.
	ReasonBranchTooLarge = "BranchTooLarge"
	// ReasonUnreadableParcel means that a ConfigMap of the outbox does not hold what Cairn wrote.
	ReasonUnreadableParcel  = "UnreadableParcel"
	ReasonRecordsMissing    = "RecordsMissing"
	ReasonRecordDropped     = "RecordDropped"
	ReasonRecordDiffers     = "RecordDiffers"
	ReasonTooManyLedgers    = "TooManyLedgers"
	ReasonInvalidSigningKey = "InvalidSigningKey"
	ReasonConsentMissing    = "ConsentMissing"
	ReasonNamespacesDropped = "NamespacesDropped"
	ReasonBranchWatched     = "BranchWatched"

	// BackupStorage and Repository.
	ReasonBackendInitializationSucceeded    = "BackendInitializationSucceeded"
	ReasonBackendInitializationFailed       = "BackendInitializationFailed"
	ReasonBackendSecretAvailable            = "BackendSecretAvailable"
	ReasonBackendSecretNotAvailable         = "BackendSecretNotAvailable"
	ReasonRepositoryInitializationSucceeded = "RepositoryInitializationSucceeded"
	ReasonRepositoryInitializationFailed    = "RepositoryInitializationFailed"
	ReasonBucketNotFound                    = "BucketNotFound"
	ReasonMetadataNotFound                  = "MetadataNotFound"
	ReasonAccessDenied                      = "AccessDenied"
	ReasonBadCredentials                    = "BadCredentials"
	ReasonStorageFull                       = "StorageFull"
	ReasonArchived                          = "Archived"
	ReasonStorageNotTrusted                 = "StorageNotTrusted"
	ReasonStorageNotFound                   = "StorageNotFound"
	ReasonStorageNotReady                   = "StorageNotReady"
	ReasonStorageNotAllowed                 = "StorageNotAllowed"
	ReasonStorageChanged                    = "StorageChanged"
	ReasonStorageTaken                      = "StorageTaken"
	ReasonDefaultTaken                      = "DefaultTaken"
	ReasonDefaultNotShared                  = "DefaultNotShared"
	ReasonDirectoryTaken                    = "DirectoryTaken"
	ReasonDirectoryNotAllowed               = "DirectoryNotAllowed"
	ReasonRepositoryDamaged                 = "RepositoryDamaged"
	ReasonRepositoryNotReady                = "RepositoryNotReady"
	ReasonRepositoryConflict                = "RepositoryConflict"
	ReasonWrongPassword                     = "WrongPassword"
	ReasonPasswordChanged                   = "PasswordChanged"
	ReasonEncryptionSecretNotAvailable      = "EncryptionSecretNotAvailable"
	ReasonClockSkew                         = "ClockSkew"

	// Retention, maintenance and deletion.
	ReasonApplied                   = "Applied"
	ReasonKeepsEverything           = "KeepsEverything"
	ReasonRemovalPending            = "RemovalPending"
	ReasonRemovalHeld               = "RemovalHeld"
	ReasonNotChecked                = "NotChecked"
	ReasonDefaultRetention          = "DefaultRetention"
	ReasonDefaultReplaced           = "DefaultReplaced"
	ReasonRetentionPolicyNotFound   = "RetentionPolicyNotFound"
	ReasonRetentionPolicyNotAllowed = "RetentionPolicyNotAllowed"
	ReasonRetentionPolicyConflict   = "RetentionPolicyConflict"
	ReasonInvalidRetentionPolicy    = "InvalidRetentionPolicy"
	ReasonNotKept                   = "NotKept"
	ReasonLastSuccess               = "LastSuccess"
	ReasonTooOld                    = "TooOld"
	ReasonDeleted                   = "Deleted"
	ReasonRepositoryWiped           = "RepositoryWiped"
	ReasonMaintained                = "Maintained"
	ReasonScanned                   = "Scanned"
	ReasonScanIncomplete            = "ScanIncomplete"
	ReasonChecked                   = "Checked"
	ReasonKeeperRunning             = "KeeperRunning"
	ReasonJobNotDeleted             = "JobNotDeleted"
	ReasonPaused                    = "Paused"
	ReasonInUse                     = "InUse"
	ReasonDataKept                  = "DataKept"
	ReasonWiped                     = "Wiped"

	// BackupConfiguration and BackupBatch.
	ReasonResourceValidationPassed = "ResourceValidationPassed"
	ReasonResourceValidationFailed = "ResourceValidationFailed"
	ReasonSchedulerEnsured         = "SchedulerEnsured"
	ReasonSchedulerNotEnsured      = "SchedulerNotEnsured"
	ReasonInvalidSchedule          = "InvalidSchedule"
	ReasonNameConflict             = "NameConflict"
	ReasonTargetNotFound           = "TargetNotFound"
	ReasonTooManyTargets           = "TooManyTargets"
	ReasonBackedUpTwice            = "BackedUpTwice"
	ReasonSelectorFindsNothing     = "SelectorFindsNothing"
	ReasonTargetNotReady           = "TargetNotReady"
	ReasonTargetUnknown            = "TargetUnknown"
	ReasonAddonNotFound            = "AddonNotFound"
	ReasonTaskNotFound             = "TaskNotFound"
	ReasonFunctionNotFound         = "FunctionNotFound"
	ReasonInvalidParameters        = "InvalidParameters"
	ReasonBackendNotFound          = "BackendNotFound"
	ReasonDefaultsChanged          = "DefaultsChanged"
	ReasonChildrenNotReady         = "ChildrenNotReady"
	ReasonChildApplied             = "ChildApplied"
	ReasonChildReverted            = "ChildReverted"
	ReasonChildRemoved             = "ChildRemoved"
	ReasonTargetLeft               = "TargetLeft"
	ReasonRepositoryLeft           = "RepositoryLeft"
	ReasonReady                    = "Ready"
	ReasonSlotsMissed              = "SlotsMissed"
	ReasonProtected                = "Protected"
	ReasonLate                     = "Late"
	ReasonNoBackupYet              = "NoBackupYet"
	ReasonTriggered                = "Triggered"
	ReasonInvalidTrigger           = "InvalidTrigger"

	// Sidecars.
	ReasonSidecarRolloutInProgress = "SidecarRolloutInProgress"
	ReasonSidecarRolloutFailed     = "SidecarRolloutFailed"
	ReasonSidecarNotPermitted      = "SidecarNotPermitted"
	ReasonSidecarNotPossible       = "SidecarNotPossible"
	ReasonSidecarInjected          = "SidecarInjected"
	ReasonSidecarRemoved           = "SidecarRemoved"
	ReasonSidecarNotReady          = "SidecarNotReady"

	// Hooks.
	ReasonSuccessfullyExecutedPreBackupHooks   = "SuccessfullyExecutedPreBackupHooks"
	ReasonFailedToExecutePreBackupHooks        = "FailedToExecutePreBackupHooks"
	ReasonSuccessfullyExecutedPostBackupHooks  = "SuccessfullyExecutedPostBackupHooks"
	ReasonFailedToExecutePostBackupHooks       = "FailedToExecutePostBackupHooks"
	ReasonSuccessfullyExecutedPreRestoreHooks  = "SuccessfullyExecutedPreRestoreHooks"
	ReasonFailedToExecutePreRestoreHooks       = "FailedToExecutePreRestoreHooks"
	ReasonSuccessfullyExecutedPostRestoreHooks = "SuccessfullyExecutedPostRestoreHooks"
	ReasonFailedToExecutePostRestoreHooks      = "FailedToExecutePostRestoreHooks"
	ReasonHookTemplateNotFound                 = "HookTemplateNotFound"
	ReasonHookTemplateNotAllowed               = "HookTemplateNotAllowed"
	ReasonInvalidHook                          = "InvalidHook"
	ReasonHookNotPermitted                     = "HookNotPermitted"
	ReasonHookTimeout                          = "HookTimeout"
	ReasonCommandFailed                        = "CommandFailed"
	ReasonRequestFailed                        = "RequestFailed"
	ReasonHooksInProgress                      = "HooksInProgress"

	// BackupSession, Snapshot and RestoreSession.
	ReasonPending                     = "Pending"
	ReasonRunning                     = "Running"
	ReasonCancelled                   = "Cancelled"
	ReasonDeadlineExceeded            = "DeadlineExceeded"
	ReasonStartingDeadlineExceeded    = "StartingDeadlineExceeded"
	ReasonCopyOfRun                   = "CopyOfRun"
	ReasonConcurrencyForbidden        = "ConcurrencyForbidden"
	ReasonReplaced                    = "Replaced"
	ReasonReplacing                   = "Replacing"
	ReasonRetried                     = "Retried"
	ReasonRetryDropped                = "RetryDropped"
	ReasonNothingToRetry              = "NothingToRetry"
	ReasonInvokerNotFound             = "InvokerNotFound"
	ReasonSessionNotFound             = "SessionNotFound"
	ReasonNotPermitted                = "NotPermitted"
	ReasonPrivilegeRequired           = "PrivilegeRequired"
	ReasonNoVolumes                   = "NoVolumes"
	ReasonNoRunningPod                = "NoRunningPod"
	ReasonVolumeNotBound              = "VolumeNotBound"
	ReasonVolumeInUse                 = "VolumeInUse"
	ReasonVolumeMoving                = "VolumeMoving"
	ReasonVolumeNotEmpty              = "VolumeNotEmpty"
	ReasonConfirmationWrong           = "ConfirmationWrong"
	ReasonConfirmationMissing         = "ConfirmationMissing"
	ReasonConfirmationUsed            = "ConfirmationUsed"
	ReasonSnapshotDamaged             = "SnapshotDamaged"
	ReasonHalfRestored                = "HalfRestored"
	ReasonHoldsLess                   = "HoldsLess"
	ReasonNewerSnapshot               = "NewerSnapshot"
	ReasonRestoreNotAllowed           = "RestoreNotAllowed"
	ReasonVerificationFailed          = "VerificationFailed"
	ReasonRetrying                    = "Retrying"
	ReasonTargetUnwritable            = "TargetUnwritable"
	ReasonFileNamesCollide            = "FileNamesCollide"
	ReasonReplicasManaged             = "ReplicasManaged"
	ReasonReplicasChanged             = "ReplicasChanged"
	ReasonScalingNotPermitted         = "ScalingNotPermitted"
	ReasonScalingDeletesClaims        = "ScalingDeletesClaims"
	ReasonRestoreInProgress           = "RestoreInProgress"
	ReasonAlreadyRestored             = "AlreadyRestored"
	ReasonSnapshotNotFound            = "SnapshotNotFound"
	ReasonComponentNotFound           = "ComponentNotFound"
	ReasonJobFailed                   = "JobFailed"
	ReasonJobVanished                 = "JobVanished"
	ReasonImagePullFailed             = "ImagePullFailed"
	ReasonUnschedulable               = "Unschedulable"
	ReasonNodeLost                    = "NodeLost"
	ReasonEvicted                     = "Evicted"
	ReasonPodDeleted                  = "PodDeleted"
	ReasonPodNotCreated               = "PodNotCreated"
	ReasonPodNotStarted               = "PodNotStarted"
	ReasonQuotaExceeded               = "QuotaExceeded"
	ReasonCreationRefused             = "CreationRefused"
	ReasonDeletionRefused             = "DeletionRefused"
	ReasonVolumeMountFailed           = "VolumeMountFailed"
	ReasonOutOfMemory                 = "OutOfMemory"
	ReasonStepFailed                  = "StepFailed"
	ReasonEmpty                       = "Empty"
	ReasonPathNotFound                = "PathNotFound"
	ReasonUnreadable                  = "Unreadable"
	ReasonChanged                     = "Changed"
	ReasonShrunk                      = "Shrunk"
	ReasonDumpFailed                  = "DumpFailed"
	ReasonDatabaseSecretNotAvailable  = "DatabaseSecretNotAvailable"
	ReasonLoadFailed                  = "LoadFailed"
	ReasonTargetsFailed               = "TargetsFailed"
	ReasonMixedRestorePoints          = "MixedRestorePoints"
	ReasonPartial                     = "Partial"
	ReasonInvalidTask                 = "InvalidTask"
	ReasonVolumeSnapshotsNotSupported = "VolumeSnapshotsNotSupported"
	ReasonVolumeSnapshotClassNotFound = "VolumeSnapshotClassNotFound"
	ReasonStorageClassNotFound        = "StorageClassNotFound"
	ReasonCopyNotPossible             = "CopyNotPossible"
	ReasonCopyFailed                  = "CopyFailed"
	ReasonCopiesRemoved               = "CopiesRemoved"
	ReasonVolumeSnapshotClassDeletes  = "VolumeSnapshotClassDeletes"
	ReasonVolumeSnapshotFailed        = "VolumeSnapshotFailed"
	ReasonVolumeSnapshotNotReady      = "VolumeSnapshotNotReady"
	ReasonVolumeSnapshotNotDeleted    = "VolumeSnapshotNotDeleted"
	ReasonContentNotDeleted           = "VolumeSnapshotContentNotDeleted"
	ReasonLeftoversRemoved            = "LeftoversRemoved"
	ReasonVolumeSnapshotNotFound      = "VolumeSnapshotNotFound"
	ReasonVolumeTooSmall              = "VolumeTooSmall"
	ReasonWrongVolume                 = "WrongVolume"
	ReasonMetricsNotPushed            = "MetricsNotPushed"
)
