package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RestoredComponent is one component of a restore.
type RestoredComponent struct {
	// Phase of the component.
	// +optional
	Phase RestoreSessionPhase `json:"phase,omitempty"`
	// ClaimUID of the PersistentVolumeClaim that was made of a VolumeSnapshot.
	// +optional
	ClaimUID types.UID `json:"claimUID,omitempty"`
	// ID of the data in the repository, or the UID of the VolumeSnapshot.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id,omitempty"`
	// Size of what was written, for example "12.222 MiB".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Size string `json:"size,omitempty"`
	// SizeBytes is the same in bytes.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`
	// Files is the number of files that were written.
	// +optional
	Files int64 `json:"files,omitempty"`
	// Overwritten is the number of files among them that took the place of another.
	// +optional
	Overwritten int64 `json:"overwritten,omitempty"`
	// Kept is the number of files of the Snapshot that were not written because overwritePolicy keeps what is there.
	// +optional
	Kept int64 `json:"kept,omitempty"`
	// Deleted is the number of entries that were deleted because the Snapshot does not have them.
	// +optional
	Deleted int64 `json:"deleted,omitempty"`
	// Verified is the number of files that were read back and equal those in the repository.
	// +optional
	Verified int64 `json:"verified,omitempty"`
	// Different is the number of entries that were found to differ from the repository when they were read back.
	// +optional
	Different int64 `json:"different,omitempty"`
	// OwnersNotRestored is the number of entries whose owner the mover was not allowed to set.
	// +optional
	OwnersNotRestored int64 `json:"ownersNotRestored,omitempty"`
	// AttributesNotRestored is the number of entries of which another attribute could not be set.
	// +optional
	AttributesNotRestored int64 `json:"attributesNotRestored,omitempty"`
	// DevicesNotRestored is the number of devices that were left out: the parameter devices of the task did not ask for them,
	// or the mover may not make any.
	// +optional
	DevicesNotRestored int64 `json:"devicesNotRestored,omitempty"`
	// TargetEmpty says that the mover found the volume empty and could not write to it.
	// +optional
	TargetEmpty bool `json:"targetEmpty,omitempty"`
	// TargetWritten says that the mover began to write into the volume, which may hold a part of the data since.
	// +optional
	TargetWritten bool `json:"targetWritten,omitempty"`
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
	// Progress while it runs.
	// +optional
	Progress *RestoreProgress `json:"progress,omitempty"`
	// Reason of a failure, one word.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Error says what happened and what to do. It never holds the name of a user's file.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Error string `json:"error,omitempty"`
}

// RestoreProgress is how far a running component is.
type RestoreProgress struct {
	// SecondsElapsed since writing began.
	// +optional
	SecondsElapsed int64 `json:"secondsElapsed,omitempty"`
	// PercentDone is the part of the bytes that is done, from 0 to 100.
	// +optional
	PercentDone int32 `json:"percentDone,omitempty"`
	// TotalFiles is the number of files in the Snapshot.
	// +optional
	TotalFiles int64 `json:"totalFiles,omitempty"`
	// FilesDone is the number of files that are done.
	// +optional
	FilesDone int64 `json:"filesDone,omitempty"`
	// RestoreDone is what is done, for example "1.500 MiB".
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
