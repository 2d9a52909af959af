package catalog

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ParamSnapshotClass is the task parameter that names the VolumeSnapshotClass. If it is empty,
// volumesnapshot.ChooseClass decides.
const ParamSnapshotClass = "volumeSnapshotClassName"

// ParamContentDeletionPolicy is the task parameter that decides what happens to the snapshot in the storage system when
// Cairn removes the VolumeSnapshot.
const ParamContentDeletionPolicy = "contentDeletionPolicy"

// ContentDeletionMistake explains why a value of ParamContentDeletionPolicy is invalid; "" if it is valid.
func ContentDeletionMistake(value string) string {
	switch value {
	case "", "Delete", "Retain":
		return ""
	}
	return fmt.Sprintf("the parameter %s is %q: set it to Delete or Retain", ParamContentDeletionPolicy, value)
}

// SnapshotClass is the kind that ParamSnapshotClass names.
var SnapshotClass = schema.GroupKind{Group: "snapshot.storage.k8s.io", Kind: "VolumeSnapshotClass"}

// NoSnapshotterSidecar explains why a sidecar cannot run a task that makes VolumeSnapshots.
func NoSnapshotterSidecar(task string) string {
	return fmt.Sprintf("the task %q makes VolumeSnapshots, which needs rights that no container of a workload has",
		task)
}
