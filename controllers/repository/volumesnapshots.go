package repository

import (
	"context"
	"slices"

	"github.com/fluxcd/pkg/runtime/conditions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/retention"
)

// deletes is the deletionPolicy of a VolumeSnapshotContent that goes with its VolumeSnapshot.
const deletes = "Delete"

// warn sets the condition VolumeSnapshotsAtRisk if deleting the VolumeSnapshots of the newest good Snapshot deletes
// their data. It expects the Snapshots newest first.
func warn(repository *v1alpha1.Repository, snapshots []*v1alpha1.Snapshot) {
	class, risk := atRisk(snapshots)
	if !risk {
		conditions.Delete(repository, v1alpha1.ConditionVolumeSnapshotsAtRisk)
		return
	}
	message := check.DeletesData("VolumeSnapshotClass " + class + " has")
	conditions.MarkTrue(repository, v1alpha1.ConditionVolumeSnapshotsAtRisk, v1alpha1.ReasonVolumeSnapshotClassDeletes,
		"%s", message)
}

// atRisk returns the first class, by name, of the newest good Snapshot's VolumeSnapshots whose content goes with them.
func atRisk(snapshots []*v1alpha1.Snapshot) (class string, risk bool) {
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

// integrity returns false if VolumeSnapshots of a successful Snapshot are gone, true if all were found, and otherwise
// nil.
func integrity(snapshots []*v1alpha1.Snapshot) *bool {
	known, whole := true, true
	for i := range snapshots {
		if snapshots[i].Status.Phase == v1alpha1.SnapshotSucceeded {
			is := snapshots[i].Status.Integrity
			known, whole = known && is != nil, whole && !v1alpha1.Damaged(is)
		}
	}
	if !known && whole {
		return nil
	}
	return &whole
}

// wipeVolumeSnapshots deletes the Snapshots, each of which takes its VolumeSnapshots along, and then releases the
// Repository.
func (r *Reconciler) wipeVolumeSnapshots(
	ctx context.Context, repository *v1alpha1.Repository, snapshots []*v1alpha1.Snapshot, user string,
) (ctrl.Result, error) {
	before := repository.DeepCopy()
	if user != "" {
		conditions.MarkFalse(repository, v1alpha1.ConditionWiped, v1alpha1.ReasonInUse,
			"the data is removed later: %s", user)
		return ctrl.Result{RequeueAfter: inUseInterval}, r.writer().Status(ctx, before, repository)
	}
	if len(snapshots) > 0 && retention.MarkRemovalBegan(repository) {
		if err := r.writer().Status(ctx, before, repository); err != nil {
			return ctrl.Result{}, err
		}
		before = repository.DeepCopy()
	}
	waiting, removing := false, []*v1alpha1.Snapshot(nil)
	for _, s := range snapshots {
		if s.DeletionTimestamp.IsZero() {
			if err := r.wipeSnapshot(ctx, s); err != nil {
				return ctrl.Result{}, err
			}
			waiting = true
			continue
		}
		if !slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe) {
			continue
		}
		waiting = true
		removing = append(removing, s)
	}
	if !waiting {
		return ctrl.Result{}, r.release(ctx, repository, "unknown", "its Snapshots have nothing left to remove")
	}
	if blocked := retention.Blocked(removing); blocked != nil {
		conditions.MarkFalse(repository, v1alpha1.ConditionWiped,
			conditions.GetReason(blocked, v1alpha1.ConditionWiped), "Snapshot %s: %s", blocked.Name,
			conditions.GetMessage(blocked, v1alpha1.ConditionWiped))
	} else {
		conditions.MarkUnknown(repository, v1alpha1.ConditionWiped, v1alpha1.ReasonProgressing,
			"the VolumeSnapshots are being deleted")
	}
	return ctrl.Result{RequeueAfter: wipeInterval}, r.writer().Status(ctx, before, repository)
}

// wipeSnapshot deletes a Snapshot with its data, because its Repository is being wiped.
func (r *Reconciler) wipeSnapshot(ctx context.Context, s *v1alpha1.Snapshot) error {
	if !slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe) || s.Spec.DeletionPolicy != v1alpha1.WipeOut {
		before := s.DeepCopy()
		s.Spec.DeletionPolicy = v1alpha1.WipeOut
		controllerutil.AddFinalizer(s, v1alpha1.FinalizerWipe)
		if err := r.writer().Object(ctx, before, s); err != nil {
			return err
		}
	}
	return r.removeSnapshot(ctx, s)
}
