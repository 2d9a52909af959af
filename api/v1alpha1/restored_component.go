package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RestoredComponent is the progress and result of one component of a restore.
type RestoredComponent struct {
	// Phase of the component.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`
	// ClaimUID is the UID of the PersistentVolumeClaim that the restore made, from a VolumeSnapshot or a template.
	// +optional
	ClaimUID types.UID `json:"claimUID,omitempty"`
	// VolumeUID is the UID of the PersistentVolume that TargetEmpty and TargetWritten are about, once another attempt
	// is planned.
	// +optional
	VolumeUID types.UID `json:"volumeUID,omitempty"`
	// ID of the data in the repository, or the UID of the VolumeSnapshot.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id,omitempty"`
	// Size of the written data, for example "12.222 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Size string `json:"size,omitempty"`
	// SizeBytes is the same in bytes.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`
	// Files is the number of files that were written.
	// +optional
	Files int64 `json:"files,omitempty"`
	// Overwritten is the number of written files that replaced an existing file.
	// +optional
	Overwritten int64 `json:"overwritten,omitempty"`
	// Kept is the number of files of the Snapshot that were not written, because overwritePolicy keeps the existing
	// file.
	// +optional
	Kept int64 `json:"kept,omitempty"`
	// Deleted is the number of entries that were deleted because the Snapshot does not contain them.
	// +optional
	Deleted int64 `json:"deleted,omitempty"`
	// Verified is the number of files that were read back and equal the files in the repository.
	// +optional
	Verified int64 `json:"verified,omitempty"`
	// Different is the number of entries that were read back and differ from the repository.
	// +optional
	Different int64 `json:"different,omitempty"`
	// OwnersNotRestored is the number of entries whose owner the mover was not allowed to set.
	// +optional
	OwnersNotRestored int64 `json:"ownersNotRestored,omitempty"`
	// AttributesNotRestored is the number of entries with another attribute that could not be set.
	// +optional
	AttributesNotRestored int64 `json:"attributesNotRestored,omitempty"`
	// DevicesNotRestored is the number of devices that were left out, because the task's parameter devices did not ask
	// for them or the mover is not allowed to make them.
	// +optional
	DevicesNotRestored int64 `json:"devicesNotRestored,omitempty"`
	// LinksNotRestored is the number of names that came back as files of their own, although other names had the same
	// inode number in the backup. Either the number was used again while the backup was made, or the file changed
	// meanwhile, or the existing file of another name was kept.
	// +optional
	LinksNotRestored int64 `json:"linksNotRestored,omitempty"`
	// ExtraKept is the number of entries that deleteExtraFiles kept because the backup may have left them out: it could
	// not read them, their directory changed during it, or the Snapshot does not say what its backup left out.
	// Subvolumes of btrfs count, too.
	// +optional
	ExtraKept int64 `json:"extraKept,omitempty"`
	// UnmatchedPatterns are patterns of the parameters include and exclude that matched nothing, 10 at most, each
	// cut to 128 bytes. Where more than 100 components share one object, they are left out.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=128
	UnmatchedPatterns []string `json:"unmatchedPatterns,omitempty"`
	// TargetEmpty is whether the mover found the volume empty and could not write to it.
	// +optional
	TargetEmpty bool `json:"targetEmpty,omitempty"`
	// TargetWritten is whether the mover began to write into the volume, which can contain part of the data since then.
	// +optional
	TargetWritten bool `json:"targetWritten,omitempty"`
	// TargetUntouched is whether nothing was changed in the volume, nor in the database, when the component failed: its
	// mover has told so, or is known not to have begun. A mover that was killed tells nothing.
	// +optional
	TargetUntouched bool `json:"targetUntouched,omitempty"`
	// UntouchedAttempts is how many attempts, from the first on, have changed nothing there.
	// +optional
	UntouchedAttempts int32 `json:"untouchedAttempts,omitempty"`
	// StartTime is when writing began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when everything was written.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Duration of the work, rounded to milliseconds.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Duration string `json:"duration,omitempty"`
	// Progress of a running component.
	// +optional
	Progress *RestoreProgress `json:"progress,omitempty"`
	// Reason for a failure, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Error explains what happened and what to do. It never contains the name of a user's file.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error string `json:"error,omitempty"`
}

// RestoreProgress is the progress of a running component.
type RestoreProgress struct {
	// SecondsElapsed since writing began.
	// +optional
	SecondsElapsed int64 `json:"secondsElapsed,omitempty"`
	// PercentDone is the share of the bytes that is done, from 0 to 100.
	// +optional
	PercentDone int32 `json:"percentDone,omitempty"`
	// TotalFiles is the number of files in the Snapshot.
	// +optional
	TotalFiles int64 `json:"totalFiles,omitempty"`
	// FilesDone is the number of files that are done.
	// +optional
	FilesDone int64 `json:"filesDone,omitempty"`
	// RestoreDone is the amount of data that is done, for example "1.500 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	RestoreDone string `json:"restoreDone,omitempty"`
	// BytesDone is the same in bytes.
	// +optional
	BytesDone int64 `json:"bytesDone,omitempty"`
	// Total is the size of the Snapshot's component, for example "12.222 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Total string `json:"total,omitempty"`
	// Speed of the restore so far, for example "80.125 MiB/s".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Speed string `json:"speed,omitempty"`
}
