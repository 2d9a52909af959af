package restorebatch

import (
	"cmp"
	"fmt"
	"slices"
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
	succeeded, skipped, unknown := by[v1alpha1.RestoreSessionSucceeded], by[v1alpha1.RestoreSessionSkipped],
		by[v1alpha1.RestoreSessionUnknown]
	written, left := "all was written", ""
	if len(skipped) > 0 {
		written, left = written+" into "+text.FirstFew(slices.Concat(unknown, succeeded)), "; "+r.leftAsItIs(skipped)
	}
	switch {
	case len(succeeded)+len(skipped)+len(unknown) < total:
		return v1alpha1.RestoreSessionFailed, r.failedReason(), "not restored: " + r.failures()
	case disturbed != "" && len(skipped) < total:
		return v1alpha1.RestoreSessionFailed, v1alpha1.ReasonReplicasChanged, written + ", but " + disturbed + left
	case len(unknown) > 0:
		return v1alpha1.RestoreSessionUnknown, v1alpha1.ReasonTargetsFailed,
			written + ", but not all could be verified: " + r.failures() + left
	case len(skipped) == total:
		return v1alpha1.RestoreSessionSkipped, v1alpha1.ReasonAlreadyRestored,
			restore.AlreadyRestoredMessage(v1alpha1.RestoreBatchKind, "targets")
	case len(skipped) > 0 && !r.Batch.Spec.DataSource.Mixed:
		return v1alpha1.RestoreSessionFailed, v1alpha1.ReasonMixedRestorePoints,
			"restored " + text.FirstFew(succeeded) + r.from() + left + ". " + r.ifTheyFit()
	default:
		return v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded, fmt.Sprintf("restored %s of BackupBatch %s",
			text.Quantity(len(succeeded), "target"), r.Batch.Spec.DataSource.BackupBatch) + r.from() + left
	}
}

// leftAsItIs names the targets that were skipped, and says what is known of them.
func (r *runner) leftAsItIs(skipped []string) string {
	perhaps := ", perhaps from another restore point"
	if isNamed(&r.Batch.Spec.DataSource) {
		perhaps = ""
	}
	return "left as an identical RestoreBatch has filled it before" + perhaps + ": " + text.FirstFew(skipped) +
		". Nobody has looked at what is there now"
}

// ifTheyFit says what to do about targets that were restored at different times.
func (r *runner) ifTheyFit() string {
	scale := ""
	if len(r.d.Status.ScaledDown) > 0 {
		scale = ": only scale up by hand what scaleDown has left without replicas"
	}
	return "If all of it fits together, nothing more has to be restored" + scale + ". To restore all from one " +
		"restore point, create a RestoreBatch of another name that confirms the targets"
}

// from says from which restore point the targets were restored that were restored now.
func (r *runner) from() string {
	var points []string
	for _, t := range r.d.Status.Targets {
		if t.Phase == v1alpha1.RestoreSessionSucceeded {
			points = append(points, t.RestorePoint)
		}
	}
	if points = slices.Compact(points); len(points) != 1 {
		return ", from different restore points"
	}
	return " from the restore point of BackupSession " + points[0]
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

// disown decides whether what the targets hold must no longer count as restored: all was written, or pods may have
// written into it. If the API server refuses that, it adds to the message that the annotations stay.
func (r *runner) disown(message string) string {
	r.d.Disown = r.disturbed() != "" ||
		!r.anyEnded(v1alpha1.RestoreSessionFailed) && !r.anyEnded(v1alpha1.RestoreSessionInvalid)
	why := cmp.Or(r.DisownRefused, r.DisownUnanswered)
	if !r.d.Disown || why == nil {
		return message
	}
	r.d.Disown = false
	more := fmt.Sprintf("; the annotation %s of its targets stays, so one made again can be Skipped: %s",
		v1alpha1.AnnotationRestored, text.Cut(why.Message, text.MaxMessage/4))
	return text.Cut(message, text.MaxMessage-len(more)) + more
}
