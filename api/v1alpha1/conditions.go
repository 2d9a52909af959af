package v1alpha1

// Condition types beside Ready, Reconciling and Stalled.
const (
	// ConditionValidationPassed says whether policy or a restore can work at all.
	ConditionValidationPassed = "ValidationPassed"
	// ConditionBackendInitialized says whether metadata.yaml is in the backend.
	ConditionBackendInitialized = "BackendInitialized"
	// ConditionBackendSecretFound says whether the backend's Secret has its keys.
	ConditionBackendSecretFound = "BackendSecretFound"
	// ConditionRepositoryInitialized says whether repository.yaml is in the directory.
	ConditionRepositoryInitialized = "RepositoryInitialized"
	// ConditionSchedulerEnsured says whether a session's CronJob is there.
	ConditionSchedulerEnsured = "SchedulerEnsured"
	// ConditionSlotsMissed says that slots of a session pass without a run.
	ConditionSlotsMissed = "SlotsMissed"
	// ConditionProtected says whether the last success of every session with a schedule is within its deadline.
	ConditionProtected = "Protected"
	// ConditionDefaultIgnored says that an older object is the default of the namespace already.
	ConditionDefaultIgnored = "DefaultIgnored"
	// ConditionResolvedBackendChanged says that what a policy leaves out would now be inferred otherwise than it was when its
	// repositories were made, and that they stay where they are.
	ConditionResolvedBackendChanged = "ResolvedBackendChanged"
	// ConditionPartial says that some but not all of a session's targets, or of a restore's attributes, came through.
	ConditionPartial = "Partial"
	// ConditionBacklogged says that a Ledger's outbox is full.
	ConditionBacklogged = "Backlogged"
	// ConditionRetained says of a Snapshot, where it is False, which rule lets it go.
	ConditionRetained = "Retained"
	// ConditionRetentionApplied says whether all Snapshots of a Repository are gone that its RetentionPolicy lets go.
	ConditionRetentionApplied = "RetentionApplied"
	// ConditionMaintained says whether the last maintenance of a Repository succeeded.
	ConditionMaintained = "Maintained"
	// ConditionWiped says of an object that is being deleted how far the removal of its data is.
	ConditionWiped = "Wiped"
	// ConditionDeletionBlocked says that the guard holds a removal back.
	ConditionDeletionBlocked = "DeletionBlocked"
	// ConditionPreBackupHooksExecutionSucceeded says how the preBackup hooks ended.
	ConditionPreBackupHooksExecutionSucceeded = "PreBackupHooksExecutionSucceeded"
	// ConditionPostBackupHooksExecutionSucceeded says how the postBackup hooks ended.
	ConditionPostBackupHooksExecutionSucceeded = "PostBackupHooksExecutionSucceeded"
	// ConditionPreRestoreHooksExecutionSucceeded says how the preRestore hooks ended.
	ConditionPreRestoreHooksExecutionSucceeded = "PreRestoreHooksExecutionSucceeded"
	// ConditionPostRestoreHooksExecutionSucceeded says how the postRestore hooks ended.
	ConditionPostRestoreHooksExecutionSucceeded = "PostRestoreHooksExecutionSucceeded"
)

// Reasons of conditions, phases and events. Where Flux or KubeStash has a reason for the case it is theirs.
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

	// PolicySync: build and apply.
	ReasonInvalidPath          = "InvalidPath"
	ReasonBuildFailed          = "BuildFailed"
	ReasonValidationFailed     = "ValidationFailed"
	ReasonReconcileSucceeded   = "ReconciliationSucceeded"
	ReasonReconcileFailed      = "ReconciliationFailed"
	ReasonPruneFailed          = "PruneFailed"
	ReasonDeletionBlocked      = "DeletionBlocked"
	ReasonOwnedByOther         = "OwnedByOther"
	ReasonForbidden            = "Forbidden"
	ReasonServiceAccountAbsent = "ServiceAccountNotFound"

	// Ledger.
	ReasonWatchedBranch    = "WatchedBranch"
	ReasonClusterNameTaken = "ClusterNameTaken"
	ReasonHistoryRewritten = "HistoryRewritten"
	ReasonPushRefused      = "PushRefused"
	ReasonBacklogged       = "Backlogged"
	ReasonPushed           = "Pushed"
	ReasonRecordDropped    = "RecordDropped"
	ReasonRecordDiffers    = "RecordDiffers"

	// BackupStorage and Repository.
	ReasonBackendInitializationSucceeded    = "BackendInitializationSucceeded"
	ReasonBackendInitializationFailed       = "BackendInitializationFailed"
	ReasonBackendSecretAvailable            = "BackendSecretAvailable"
	ReasonBackendSecretNotAvailable         = "BackendSecretNotAvailable"
	ReasonRepositoryInitializationSucceeded = "RepositoryInitializationSucceeded"
	ReasonRepositoryInitializationFailed    = "RepositoryInitializationFailed"
	ReasonBucketNotFound                    = "BucketNotFound"
	ReasonAccessDenied                      = "AccessDenied"
	ReasonBadCredentials                    = "BadCredentials"
	ReasonStorageFull                       = "StorageFull"
	ReasonStorageNotTrusted                 = "StorageNotTrusted"
	ReasonStorageNotFound                   = "StorageNotFound"
	ReasonStorageNotReady                   = "StorageNotReady"
	ReasonStorageNotAllowed                 = "StorageNotAllowed"
	ReasonStorageTaken                      = "StorageTaken"
	ReasonDefaultTaken                      = "DefaultTaken"
	ReasonDirectoryTaken                    = "DirectoryTaken"
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
	ReasonDefaultRetention          = "DefaultRetention"
	ReasonRetentionPolicyNotFound   = "RetentionPolicyNotFound"
	ReasonRetentionPolicyNotAllowed = "RetentionPolicyNotAllowed"
	ReasonRetentionPolicyConflict   = "RetentionPolicyConflict"
	ReasonInvalidRetentionPolicy    = "InvalidRetentionPolicy"
	ReasonNotKept                   = "NotKept"
	ReasonTooOld                    = "TooOld"
	ReasonDeleted                   = "Deleted"
	ReasonRepositoryWiped           = "RepositoryWiped"
	ReasonMaintained                = "Maintained"
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
	ReasonReady                    = "Ready"
	ReasonSlotsMissed              = "SlotsMissed"
	ReasonProtected                = "Protected"
	ReasonLate                     = "Late"
	ReasonNoBackupYet              = "NoBackupYet"
	ReasonTriggered                = "Triggered"
	ReasonInvalidTrigger           = "InvalidTrigger"

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
	ReasonPending                  = "Pending"
	ReasonRunning                  = "Running"
	ReasonCancelled                = "Cancelled"
	ReasonDeadlineExceeded         = "DeadlineExceeded"
	ReasonStartingDeadlineExceeded = "StartingDeadlineExceeded"
	ReasonConcurrencyForbidden     = "ConcurrencyForbidden"
	ReasonReplaced                 = "Replaced"
	ReasonReplacing                = "Replacing"
	ReasonRetried                  = "Retried"
	ReasonRetryDropped             = "RetryDropped"
	ReasonNothingToRetry           = "NothingToRetry"
	ReasonInvokerNotFound          = "InvokerNotFound"
	ReasonSessionNotFound          = "SessionNotFound"
	ReasonNotPermitted             = "NotPermitted"
	ReasonPrivilegeRequired        = "PrivilegeRequired"
	ReasonNoVolumes                = "NoVolumes"
	ReasonNoRunningPod             = "NoRunningPod"
	ReasonVolumeNotBound           = "VolumeNotBound"
	ReasonVolumeInUse              = "VolumeInUse"
	ReasonVolumeNotEmpty           = "VolumeNotEmpty"
	ReasonConfirmationWrong        = "ConfirmationWrong"
	ReasonConfirmationMissing      = "ConfirmationMissing"
	ReasonRestoreNotAllowed        = "RestoreNotAllowed"
	ReasonVerificationFailed       = "VerificationFailed"
	ReasonRetrying                 = "Retrying"
	ReasonTargetUnwritable         = "TargetUnwritable"
	ReasonRestoreInProgress        = "RestoreInProgress"
	ReasonAlreadyRestored          = "AlreadyRestored"
	ReasonSnapshotNotFound         = "SnapshotNotFound"
	ReasonComponentNotFound        = "ComponentNotFound"
	ReasonJobFailed                = "JobFailed"
	ReasonJobVanished              = "JobVanished"
	ReasonImagePullFailed          = "ImagePullFailed"
	ReasonUnschedulable            = "Unschedulable"
	ReasonNodeLost                 = "NodeLost"
	ReasonEvicted                  = "Evicted"
	ReasonPodDeleted               = "PodDeleted"
	ReasonPodNotCreated            = "PodNotCreated"
	ReasonPodNotStarted            = "PodNotStarted"
	ReasonQuotaExceeded            = "QuotaExceeded"
	ReasonVolumeMountFailed        = "VolumeMountFailed"
	ReasonOutOfMemory              = "OutOfMemory"
	ReasonStepFailed               = "StepFailed"
	ReasonEmpty                    = "Empty"
	ReasonPathNotFound             = "PathNotFound"
	ReasonUnreadable               = "Unreadable"
	ReasonChanged                  = "Changed"
	ReasonShrunk                   = "Shrunk"
	ReasonTargetsFailed            = "TargetsFailed"
	ReasonPartial                  = "Partial"
	ReasonInvalidTask              = "InvalidTask"
	ReasonMetricsNotPushed         = "MetricsNotPushed"
)
