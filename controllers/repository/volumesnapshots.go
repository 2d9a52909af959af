package repository

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// deletes is the deletionPolicy of a VolumeSnapshotContent that goes with its VolumeSnapshot.
const deletes = "Delete"

// warn says in a condition, and once in an event, that whoever deletes the VolumeSnapshots of the newest good Snapshot deletes their
// data. Snapshots are newest first.
func (r *Reconciler) warn(repository *v1alpha1.Repository, snapshots []v1alpha1.Snapshot) {
	class, risk := atRisk(snapshots)
	if !risk {
		conditions.Delete(repository, v1alpha1.ConditionVolumeSnapshotsAtRisk)
		return
	}
	message := policy.DeletesData("VolumeSnapshotClass " + class + " has")
	if !conditions.IsTrue(repository, v1alpha1.ConditionVolumeSnapshotsAtRisk) {
		r.Event(repository, corev1.EventTypeWarning, v1alpha1.ReasonVolumeSnapshotClassDeletes, message)
	}
	conditions.MarkTrue(repository, v1alpha1.ConditionVolumeSnapshotsAtRisk, v1alpha1.ReasonVolumeSnapshotClassDeletes, "%s", message)
}

// atRisk names the class of a VolumeSnapshot of the newest good Snapshot whose content goes with it: the first by its name.
func atRisk(snapshots []v1alpha1.Snapshot) (class string, risk bool) {
	for i := range snapshots {
		if snapshots[i].Status.Phase != v1alpha1.SnapshotSucceeded {
			continue
		}
		for _, component := range snapshots[i].Status.Components {
			for _, stats := range component.VolumeSnapshotterStats {
				if name := stats.VolumeSnapshotClassName; stats.DeletionPolicy == deletes && (!risk || name < class) {
					class, risk = name, true
				}
			}
		}
		return class, risk
	}
	return "", false
}
