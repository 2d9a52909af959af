package backup

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/text"
	"github.com/cairn-backup/cairn/internal/workload"
)

// startTargets starts targets in their order, up to the limit of targets that run at once. It reports whether it
// started any. The start is written to the status before anything is done for the target, because its timeout counts
// from then. A target whose hooks meet those of one at work in the same pods waits for the end of that.
func startTargets(targets []v1alpha1.BackupTargetStatus, r *v1alpha1.ResolvedBackup, now time.Time) bool {
	free := run.MaxParallel(r.ExecutionOrder, r.MaxParallel, len(r.Targets))
	var atWork held
	for i := range targets {
		if targets[i].Phase == v1alpha1.BackupSessionRunning {
			free--
			atWork.add(onTarget(&r.Targets[i]))
		}
	}
	any := false
	for i := range targets {
		t := &targets[i]
		if free <= 0 || t.Phase != v1alpha1.BackupSessionPending {
			continue
		}
		var own held
		if own.add(onTarget(&r.Targets[i])); own.meets(atWork) {
			continue
		}
		at := metav1.NewTime(now).Rfc3339Copy()
		t.Phase, t.Reason, t.StartTime = v1alpha1.BackupSessionRunning, v1alpha1.ReasonRunning, &at
		any = true
		free--
		atWork.add(onTarget(&r.Targets[i]))
	}
	return any
}

// room returns the length limit for a text of one target, where limit applies to a run with few targets.
func (r *runner) room(limit int) int {
	return run.LimitPerTarget(len(r.d.Status.Resolved.Targets), limit)
}

// SayWaits makes the status of a running target say what its Jobs wait for, unless it says something else already.
func (d *Decision) SayWaits(target, reason, message string) {
	for i := range d.Status.Targets {
		t := &d.Status.Targets[i]
		if t.Name == target && t.Phase == v1alpha1.BackupSessionRunning && t.Reason == v1alpha1.ReasonRunning {
			t.Reason = reason
			t.Message = text.Cut(message, run.LimitPerTarget(len(d.Status.Targets), text.MaxMessage))
		}
	}
}

// DeadlineOf returns when the backup of one begun target of a frozen run must end: no later than the run.
func DeadlineOf(s *v1alpha1.BackupSession, target string) time.Time {
	var deadline time.Time
	if d := s.Status.BackupDeadline; d != nil {
		deadline = d.Time
	}
	frozen, status := frozenTarget(s, target), targetStatus(s, target)
	if frozen == nil || frozen.Timeout == nil || status == nil || status.StartTime == nil {
		return deadline
	}
	if own := status.StartTime.Add(frozen.Timeout.Duration); deadline.IsZero() || own.Before(deadline) {
		return own
	}
	return deadline
}

// FindsNodeAgain reports whether the node of a mover is to be found again: since it was frozen, the pods that use the
// volumes can have moved, for example because the node is drained. That is so for a second attempt, and if the target
// had to wait for its turn. The node of a DaemonSet's host and that of a host path say which data it is, and stay.
// Copies, VolumeSnapshots and sidecars need no node.
func (m Mover) FindsNodeAgain(s *v1alpha1.BackupSession) bool {
	t, status := m.Target, targetStatus(s, m.Target.Name)
	late := status != nil && status.StartTime != nil && s.Status.StartTime.Before(status.StartTime)
	return (m.Attempt > 1 || late) && !workload.IsSidecar(t) && !IsVolumeSnapshots(t) && len(t.Copies) == 0 &&
		t.AppRef.Kind != v1alpha1.KindDaemonSet &&
		!slices.ContainsFunc(m.Host.Volumes, func(v v1alpha1.ResolvedVolume) bool { return v.HostPath != "" })
}

// WaitsPerPod returns how long the Job of such a mover waits for each pod that is about to move: 0 once it can have
// waited for run.WaitForMoves in all. That counts from when the Snapshot was last updated: it was made, or an earlier
// mover ended.
func WaitsPerPod(snap *v1alpha1.Snapshot, now time.Time) time.Duration {
	if last := snap.Status.LastUpdateTime; last == nil ||
		run.Left(last.Add(run.WaitForMoves), run.WaitForMoves, now) == 0 {
		return 0
	}
	return run.WaitForNode
}

// MayBackUp reports whether Snapshots and Jobs of one target of a frozen run can be made now. The target must have
// begun and not ended, its preBackup hooks and those of the run must have succeeded, no postBackup hooks of either have
// begun, and nothing stops the run.
func MayBackUp(s *v1alpha1.BackupSession, target string, now time.Time) bool {
	frozen, status := frozenTarget(s, target), targetStatus(s, target)
	if frozen == nil || status == nil || status.Phase != v1alpha1.BackupSessionRunning || stopped(s) {
		return false
	}
	deadline := DeadlineOf(s, target)
	return hookround.MayWork(s.Status.Resolved.Hooks, s.Status.Hooks) &&
		hookround.MayWork(frozen.Hooks, status.Hooks) &&
		(deadline.IsZero() || now.Before(deadline))
}

func frozenTarget(s *v1alpha1.BackupSession, name string) *v1alpha1.ResolvedTarget {
	for i := range s.Status.Resolved.Targets {
		if t := &s.Status.Resolved.Targets[i]; t.Name == name {
			return t
		}
	}
	return nil
}

func targetStatus(s *v1alpha1.BackupSession, name string) *v1alpha1.BackupTargetStatus {
	for i := range s.Status.Targets {
		if t := &s.Status.Targets[i]; t.Name == name {
			return t
		}
	}
	return nil
}
