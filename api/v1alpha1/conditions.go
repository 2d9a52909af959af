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
	// ConditionPartial says that some but not all of a session's targets, or of a restore's attributes, came through.
	ConditionPartial = "Partial"
	// ConditionBacklogged says that a Ledger's outbox is full.
	ConditionBacklogged = "Backlogged"
	// ConditionDeletionBlocked says that the guard holds a removal back.
	ConditionDeletionBlocked = "DeletionBlocked"
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
	ReasonStorageNotFound                   = "StorageNotFound"
	ReasonStorageNotReady                   = "StorageNotReady"
	ReasonStorageNotAllowed                 = "StorageNotAllowed"
	ReasonStorageTaken                      = "StorageTaken"
	ReasonDirectoryTaken                    = "DirectoryTaken"
	ReasonRepositoryDamaged                 = "RepositoryDamaged"
	ReasonRepositoryNotReady                = "RepositoryNotReady"
	ReasonRepositoryConflict                = "RepositoryConflict"
	ReasonWrongPassword                     = "WrongPassword"
	ReasonEncryptionSecretNotAvailable      = "EncryptionSecretNotAvailable"
	ReasonClockSkew                         = "ClockSkew"

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
	ReasonChildrenNotReady         = "ChildrenNotReady"
	ReasonChildApplied             = "ChildApplied"
	ReasonChildReverted            = "ChildReverted"
	ReasonChildRemoved             = "ChildRemoved"
	ReasonReady                    = "Ready"

	// BackupSession, Snapshot and RestoreSession.
	ReasonPending                  = "Pending"
	ReasonRunning                  = "Running"
	ReasonCancelled                = "Cancelled"
	ReasonDeadlineExceeded         = "DeadlineExceeded"
	ReasonStartingDeadlineExceeded = "StartingDeadlineExceeded"
	ReasonInvokerNotFound          = "InvokerNotFound"
	ReasonSessionNotFound          = "SessionNotFound"
	ReasonNotPermitted             = "NotPermitted"
	ReasonPrivilegeRequired        = "PrivilegeRequired"
	ReasonNoVolumes                = "NoVolumes"
	ReasonNoRunningPod             = "NoRunningPod"
	ReasonVolumeNotBound           = "VolumeNotBound"
	ReasonVolumeInUse              = "VolumeInUse"
	ReasonVolumeNotEmpty           = "VolumeNotEmpty"
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
	ReasonOutOfMemory              = "OutOfMemory"
	ReasonEmpty                    = "Empty"
	ReasonUnreadable               = "Unreadable"
	ReasonTargetsFailed            = "TargetsFailed"
	ReasonPartial                  = "Partial"
	ReasonInvalidTask              = "InvalidTask"
)
