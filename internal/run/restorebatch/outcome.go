package restorebatch

import (
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/text"
)

// outcome sums up how the restore ended. If it failed, the message says what became of the workloads, too.
func (r *runner) outcome() (phase v1alpha1.RestoreSessionPhase, reason, message string) {
	phase, reason, message = r.ended(r.disturbed())
	if down := r.down(reason); down != "" && !wellEnded(phase) {
		message = text.Cut(message, text.MaxMessage-len(down)) + down
	}
	return phase, reason, message
}

// ended sums up how the targets ended. disturbed names the workloads that had pods meanwhile.
func (r *runner) ended(disturbed string) (phase v1alpha1.RestoreSessionPhase, reason, message string) {
	by := map[v1alpha1.RestoreSessionPhase][]string{}
	for _, t := range r.d.Status.Targets {
		by[t.Phase] = append(by[t.Phase], t.Name)
	}
	total := len(r.d.Status.Targets)
	targets := text.Quantity(total, "target")
	succeeded, skipped, unknown := by[v1alpha1.RestoreSessionSucceeded], by[v1alpha1.RestoreSessionSkipped],
		by[v1alpha1.RestoreSessionUnknown]
	source := &r.Batch.Spec.DataSource
	switch {
	case len(succeeded)+len(skipped)+len(unknown) < total:
		return v1alpha1.RestoreSessionFailed, r.failedReason(), "not restored: " + r.failures()
	case disturbed != "" && len(skipped) < total:
		return v1alpha1.RestoreSessionFailed, v1alpha1.ReasonReplicasChanged, "all was written, but " + disturbed
	case len(unknown) > 0:
		return v1alpha1.RestoreSessionUnknown, v1alpha1.ReasonTargetsFailed,
			"all was written, but not all could be verified: " + r.failures()
	case len(skipped) == total:
		return v1alpha1.RestoreSessionSkipped, v1alpha1.ReasonAlreadyRestored,
			restore.AlreadyRestoredMessage(v1alpha1.RestoreBatchKind, "targets")
	case len(skipped) > 0 && !source.Mixed &&
		(source.PITR != nil || source.BackupSession == v1alpha1.LatestBackupSession):
		// Nobody knows any more from which restore point that was.
		return v1alpha1.RestoreSessionFailed, v1alpha1.ReasonMixedRestorePoints, fmt.Sprintf(
			"%s: an identical RestoreBatch has filled this before, perhaps from another restore point than that of "+
				"%s, BackupSession %s. Check whether they fit together; to restore all from one restore point, "+
				"create a RestoreBatch that names it in dataSource.backupSession",
			strings.Join(skipped, ", "), strings.Join(succeeded, ", "), r.d.Status.RestorePoint)
	case r.d.Status.RestorePoint == "":
		return v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded,
			fmt.Sprintf("restored %s of BackupBatch %s, from different restore points", targets,
				source.BackupBatch)
	default:
		return v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded,
			fmt.Sprintf("restored %s of BackupBatch %s from the restore point of BackupSession %s",
				targets, source.BackupBatch, r.d.Status.RestorePoint)
	}
}

// failedReason returns the reason that all failed targets share, or else TargetsFailed.
func (r *runner) failedReason() string {
	if reason := r.stopReason(); reason == v1alpha1.ReasonCancelled {
		return reason
	}
	reason := ""
	for _, t := range r.d.Status.Targets {
		if wellEnded(t.Phase) {
			continue
		}
		if reason != "" && reason != t.Reason || t.Phase != v1alpha1.RestoreSessionFailed {
			return v1alpha1.ReasonTargetsFailed
		}
		reason = t.Reason
	}
	if reason == v1alpha1.ReasonFailedToExecutePreRestoreHooks || reason == v1alpha1.ReasonDeadlineExceeded {
		return reason
	}
	return v1alpha1.ReasonTargetsFailed
}

func wellEnded(p v1alpha1.RestoreSessionPhase) bool {
	return p == v1alpha1.RestoreSessionSucceeded || p == v1alpha1.RestoreSessionSkipped
}

// failures names the targets that did not end well, and why, in one line.
func (r *runner) failures() string {
	var out []string
	for _, t := range r.d.Status.Targets {
		if !wellEnded(t.Phase) {
			out = append(out, fmt.Sprintf("target %s: %s: %s", t.Name, t.Reason, t.Message))
		}
	}
	return strings.Join(out, "; ")
}
