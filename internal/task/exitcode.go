package task

import "github.com/cairn-backup/cairn/api/v1alpha1"

// Exit codes of a mover. They summarise the reason in the termination message.
const (
	// ExitSucceeded means that everything was done.
	ExitSucceeded = 0
	// ExitFailed means a failure without a code of its own.
	ExitFailed = 1
	// ExitInvalidTask means that the mover cannot work with the task or the arguments.
	ExitInvalidTask = 2
	// ExitSource means that the source of a backup is empty or has shrunk, that it could not be read completely, that
	// it changed during the backup, or that the program that dumps it failed.
	ExitSource = 3
	// ExitStorage means that the storage is unreachable, full, or its bucket is missing.
	ExitStorage = 4
	// ExitCredentials means that the storage refused the credential or is not trusted, or that a Secret lacks its keys.
	ExitCredentials = 5
	// ExitRepository means that the repository is missing, damaged, taken, or has another password.
	ExitRepository = 6
	// ExitCancelled means that the mover was asked to stop.
	ExitCancelled = 7
	// ExitTarget means that the target of a restore is not empty, could not be written, takes different names for one,
	// or differs from the backup, that the program that loads a dump failed, or that an archive could not be unpacked.
	ExitTarget = 8
)

// exitCodes maps the reasons that have an exit code.
var exitCodes = map[string]int{
	v1alpha1.ReasonSucceeded:                    ExitSucceeded,
	v1alpha1.ReasonInvalidTask:                  ExitInvalidTask,
	v1alpha1.ReasonEmpty:                        ExitSource,
	v1alpha1.ReasonPathNotFound:                 ExitSource,
	v1alpha1.ReasonUnreadable:                   ExitSource,
	v1alpha1.ReasonChanged:                      ExitSource,
	v1alpha1.ReasonShrunk:                       ExitSource,
	v1alpha1.ReasonDumpFailed:                   ExitSource,
	v1alpha1.ReasonUnreachable:                  ExitStorage,
	v1alpha1.ReasonStorageFull:                  ExitStorage,
	v1alpha1.ReasonBucketNotFound:               ExitStorage,
	v1alpha1.ReasonMetadataNotFound:             ExitStorage,
	v1alpha1.ReasonArchived:                     ExitStorage,
	v1alpha1.ReasonStorageTaken:                 ExitStorage,
	v1alpha1.ReasonStorageNotTrusted:            ExitCredentials,
	v1alpha1.ReasonAccessDenied:                 ExitCredentials,
	v1alpha1.ReasonBadCredentials:               ExitCredentials,
	v1alpha1.ReasonBackendSecretNotAvailable:    ExitCredentials,
	v1alpha1.ReasonEncryptionSecretNotAvailable: ExitCredentials,
	v1alpha1.ReasonDatabaseSecretNotAvailable:   ExitCredentials,
	v1alpha1.ReasonWrongPassword:                ExitRepository,
	v1alpha1.ReasonPasswordChanged:              ExitRepository,
	v1alpha1.ReasonRepositoryDamaged:            ExitRepository,
	v1alpha1.ReasonRepositoryNotReady:           ExitRepository,
	v1alpha1.ReasonRepositoryNotFound:           ExitRepository,
	v1alpha1.ReasonDirectoryTaken:               ExitRepository,
	v1alpha1.ReasonSnapshotNotFound:             ExitRepository,
	v1alpha1.ReasonKeeperRunning:                ExitRepository,
	v1alpha1.ReasonCancelled:                    ExitCancelled,
	v1alpha1.ReasonDeadlineExceeded:             ExitCancelled,
	v1alpha1.ReasonVolumeNotEmpty:               ExitTarget,
	v1alpha1.ReasonTargetUnwritable:             ExitTarget,
	v1alpha1.ReasonFileNamesCollide:             ExitTarget,
	v1alpha1.ReasonLoadFailed:                   ExitTarget,
	v1alpha1.ReasonVerificationFailed:           ExitTarget,
}

// ExitCode returns the exit code of a mover that ended for a reason.
func ExitCode(reason string) int {
	if code, ok := exitCodes[reason]; ok {
		return code
	}
	return ExitFailed
}
