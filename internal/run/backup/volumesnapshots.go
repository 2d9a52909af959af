package backup

import (
	"cmp"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
	"github.com/cairn-backup/cairn/internal/workload"
)

// VolumeSnapshotInput is the input for planning the VolumeSnapshots of a target.
type VolumeSnapshotInput struct {
	// Created is when the run was made. It is part of the names of VolumeSnapshots.
	Created time.Time
	// Params are the parameters of the task.
	Params map[string]string
	// Sources are the volumes of the target, by the name of their claim.
	Sources map[string]volumesnapshot.Source
	// Classes are all VolumeSnapshotClasses of the cluster.
	Classes []snapshotv1.VolumeSnapshotClass
}

// PlanVolumeSnapshots sets, for every volume of the hosts, the VolumeSnapshot to make.
func PlanVolumeSnapshots(hosts []v1alpha1.ResolvedHost, in VolumeSnapshotInput) *v1alpha1.ResolvedError {
	keep := in.Params[catalog.ParamContentDeletionPolicy]
	if why := catalog.ContentDeletionMistake(keep); why != "" {
		return workload.Fail(v1alpha1.ReasonInvalidParameters, "%s", why)
	}
	keep = cmp.Or(keep, string(snapshotv1.VolumeSnapshotContentDelete))
	for i := range hosts {
		for j := range hosts[i].Volumes {
			v := &hosts[i].Volumes[j]
			if v.ClaimName == "" {
				return workload.Fail(v1alpha1.ReasonNoVolumes,
					"component %s is not on a PersistentVolumeClaim, so no VolumeSnapshot can be made", v.Component)
			}
			class, refusal := volumesnapshot.ChooseClass(
				in.Sources[v.ClaimName], in.Params[catalog.ParamSnapshotClass], in.Classes)
			if refusal != nil {
				return refusal
			}
			v.Snapshot = &v1alpha1.ResolvedVolumeSnapshot{
				Name: policy.VolumeSnapshotName(v.ClaimName, in.Created), ClassName: class.Name,
				ContentDeletionPolicy: keep,
			}
		}
	}
	return nil
}

// renameVolumeSnapshots renames the VolumeSnapshots of frozen hosts for another run.
func renameVolumeSnapshots(hosts []v1alpha1.ResolvedHost, created time.Time) {
	for i := range hosts {
		for j := range hosts[i].Volumes {
			if v := &hosts[i].Volumes[j]; v.Snapshot != nil {
				v.Snapshot.Name = policy.VolumeSnapshotName(v.ClaimName, created)
			}
		}
	}
}

// IsVolumeSnapshots reports whether the storage system keeps the backup of a target.
func IsVolumeSnapshots(t *v1alpha1.ResolvedTarget) bool {
	return t.Task.Driver == v1alpha1.DriverVolumeSnapshotter
}

// ObservedVolumeSnapshot is the present state of a VolumeSnapshot of a run, with its content and claim. Each of the
// three can be nil.
type ObservedVolumeSnapshot struct {
	Snapshot *snapshotv1.VolumeSnapshot
	Content  *snapshotv1.VolumeSnapshotContent
	Claim    *corev1.PersistentVolumeClaim
}

// MadeSnapshots holds the VolumeSnapshots of a run by their UID. They were read past every cache, after the reports of
// their movers.
type MadeSnapshots map[types.UID]ObservedVolumeSnapshot

// needsVerification reports whether a mover says that a component succeeded as a VolumeSnapshot which nobody else has
// seen yet.
func needsVerification(c v1alpha1.Component) bool {
	return c.Phase == v1alpha1.SnapshotSucceeded && len(c.VolumeSnapshotterStats) == 0
}

// verify checks what movers report. A component has succeeded only if its VolumeSnapshot exists, belongs to this
// Snapshot and this volume, is ready, and has a handle in the storage system. Then verify writes down what a restore
// needs, and returns when the last one was taken.
func (h *host) verify(snap *v1alpha1.Snapshot, in Input, d *Decision) (last time.Time) {
	if !IsVolumeSnapshots(h.Target) {
		return last
	}
	for _, v := range h.Host.Volumes {
		c := h.components[v.Component]
		if !needsVerification(c) {
			continue
		}
		if in.VolumeSnapshots == nil {
			d.Look = true
			return last
		}
		m := in.VolumeSnapshots[types.UID(c.ID)]
		reason, message := whyNoBackup(m, snap, v)
		if reason != "" {
			h.failOne(v, reason, message)
			continue
		}
		stats := volumesnapshot.Stats(m.Snapshot, m.Content, m.Claim, v.Snapshot.ContentDeletionPolicy)
		c.VolumeSnapshotterStats = []v1alpha1.VolumeSnapshotterStats{stats}
		c.Driver = v1alpha1.DriverVolumeSnapshotter
		h.components[v.Component] = c
		last = v1alpha1.Later(last, takenAt(m.Snapshot))
	}
	return last
}

// taken returns when the last VolumeSnapshot was taken of those that were verified, also in an earlier step: its status
// may have been written, and not that of the run. It was not taken before there was a Snapshot.
func (h *host) taken(snap *v1alpha1.Snapshot) (last time.Time) {
	for _, v := range h.Host.Volumes {
		for _, stats := range h.components[v.Component].VolumeSnapshotterStats {
			if at := stats.VolumeSnapshotTime; at != nil {
				last = v1alpha1.Later(last, v1alpha1.Later(at.Time, snap.CreationTimestamp.Time))
			}
		}
	}
	return last
}

// whyNoBackup explains why a VolumeSnapshot is not a backup. It returns no reason if it is one.
func whyNoBackup(
	m ObservedVolumeSnapshot, snap *v1alpha1.Snapshot, v v1alpha1.ResolvedVolume,
) (reason, message string) {
	s := m.Snapshot
	switch {
	case s == nil:
		return v1alpha1.ReasonVolumeSnapshotNotFound,
			"the VolumeSnapshot of the backup is gone: find out who deleted it"
	case s.DeletionTimestamp != nil:
		return v1alpha1.ReasonVolumeSnapshotNotFound, "VolumeSnapshot " + s.Name +
			" is being deleted: find out who did that"
	case !volumesnapshot.MadeBySnapshotJob(s, policy.LabelValue(snap.Name), snap.UID),
		s.Spec.Source.PersistentVolumeClaimName == nil || *s.Spec.Source.PersistentVolumeClaimName != v.ClaimName:
		return v1alpha1.ReasonVolumeSnapshotNotFound, "VolumeSnapshot " + s.Name +
			" does not belong to this Snapshot and PersistentVolumeClaim " + v.ClaimName
	case !volumesnapshot.Ready(s):
		return v1alpha1.ReasonVolumeSnapshotNotReady, "VolumeSnapshot " + s.Name + " can't be used any more"
	case m.Content == nil || !volumesnapshot.Bound(s, m.Content):
		return v1alpha1.ReasonVolumeSnapshotNotFound, "VolumeSnapshot " + s.Name +
			" has no VolumeSnapshotContent of its own"
	case volumesnapshot.Handle(m.Content) == "":
		return v1alpha1.ReasonVolumeSnapshotNotReady, "the storage system has no name for VolumeSnapshot " + s.Name
	}
	return "", ""
}

// takenAt returns of which moment a VolumeSnapshot is that is taken. It was not taken before it was asked for, whatever
// the clock of the storage system says.
func takenAt(s *snapshotv1.VolumeSnapshot) time.Time {
	return v1alpha1.Later(volumesnapshot.TakenAt(s), s.CreationTimestamp.Time)
}

// notReadyMessage says how far a VolumeSnapshot is that is not ready.
func notReadyMessage(c *v1alpha1.ResolvedCopy, s *snapshotv1.VolumeSnapshot) string {
	out := "the VolumeSnapshot for " + workload.DescribeCopy(c)
	if volumesnapshot.TakenAt(s).IsZero() {
		return out + " is not taken yet"
	}
	return out + " is taken, but not ready to use: its storage system can still upload it"
}

// waitMessage says the same while the run waits. It does not quote the driver: drivers name the request in their words,
// and the status of the run would be written again after each try.
func waitMessage(c *v1alpha1.ResolvedCopy, s *snapshotv1.VolumeSnapshot) string {
	out := notReadyMessage(c, s)
	if message, _ := volumesnapshot.Failure(s); message != "" {
		out += "; its driver reports an error in the status of VolumeSnapshot " + s.Name
	}
	return run.Waiting(out)
}

// unready explains which VolumeSnapshot a host without a Job waited for, in the end. It returns "" if there is none.
func (t *targetRun) unready(h *host) string {
	for _, v := range h.Host.Volumes {
		c := t.frozen.CopyOf(v.ClaimName)
		if c == nil {
			continue
		}
		have := t.run.Copies[c.Name]
		if have.Snapshot != nil && have.Claim == nil && !have.Going() && !volumesnapshot.Ready(have.Snapshot) {
			out := notReadyMessage(c, have.Snapshot)
			if message, _ := volumesnapshot.Failure(have.Snapshot); message != "" {
				out += "; the last error of its driver: " + message
			}
			return out
		}
	}
	return ""
}
