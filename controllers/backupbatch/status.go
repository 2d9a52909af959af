package backupbatch

import (
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/kube/trigger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/text"
)

// markInvalid marks the batch as impossible to expand or schedule. The children and CronJobs made before stay in force.
func markInvalid(batch *v1alpha1.BackupBatch, mistakes []policy.Mistake) {
	messages := make([]string, len(mistakes))
	for i, m := range mistakes {
		messages[i] = m.Field + ": " + m.Message
	}
	message := text.Join(messages)
	batch.Status.Phase = v1alpha1.PhaseInvalid
	conditions.MarkFalse(batch, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationFailed, "%s",
		message)
	status.Stalled(batch, mistakes[0].Reason, message)
}

// markOverlaps sets the condition TargetsOverlap for the objects that a session backs up twice.
func markOverlaps(batch *v1alpha1.BackupBatch, overlaps []policy.Mistake) {
	if len(overlaps) == 0 {
		conditions.Delete(batch, v1alpha1.ConditionTargetsOverlap)
		return
	}
	messages := make([]string, len(overlaps))
	for i, o := range overlaps {
		messages[i] = o.Message
	}
	conditions.MarkTrue(batch, v1alpha1.ConditionTargetsOverlap, v1alpha1.ReasonBackedUpTwice, "%s",
		text.Join(messages))
}

// markEmptySelectors sets the condition SelectorFindsNothing from the targets in the status. A selector that finds
// nothing can be right, so the batch stays Ready.
func markEmptySelectors(batch *v1alpha1.BackupBatch) {
	names := policy.EmptySelectors(batch)
	if len(names) == 0 {
		conditions.Delete(batch, v1alpha1.ConditionSelectorFindsNothing)
		return
	}
	conditions.MarkTrue(batch, v1alpha1.ConditionSelectorFindsNothing, v1alpha1.ReasonSelectorFindsNothing, "%s",
		text.Shorten("the selectors of these targets find nothing: "+strings.Join(names, ", ")+". Correct their kinds "+
			"and labels, or the labels of the objects. If nothing is there to back up, remove the targets"))
}

// readyMessage says what a batch without a problem backs up.
func readyMessage(batch *v1alpha1.BackupBatch) string {
	names := policy.EmptySelectors(batch)
	if len(names) == 0 {
		return "every target can be backed up"
	}
	return text.Shorten("every target that exists can be backed up; the selectors of these targets find nothing: " +
		strings.Join(names, ", "))
}

// markRefused says that the batch could not be looked at, because the API server refuses something.
func markRefused(batch *v1alpha1.BackupBatch, refused []error, now time.Time) {
	batch.Status.ObservedGeneration = batch.Generation
	batch.Status.Phase = v1alpha1.PhaseNotReady
	status.NotReady(batch, v1alpha1.ReasonReconcileFailed, status.Message(batch, trigger.Problems(refused), now))
}

// problems of an expanded batch beside those of its targets.
type problems struct {
	// missing is what its hooks name that does not exist.
	missing []policy.Mistake
	// conflicts are the sessions whose CronJob's name is in use.
	conflicts map[string]error
	// refused is what the API server refuses.
	refused []error
}

// summarize sets the phase and the conditions of an expanded batch from the state of its targets and sessions. The
// batch is stalled while something needs a change of policy.
func summarize(batch *v1alpha1.BackupBatch, found problems, now time.Time) {
	conditions.MarkTrue(batch, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationPassed,
		"the policy is valid")
	reason, stalled := v1alpha1.ReasonChildrenNotReady, false
	all := trigger.Problems(found.refused)
	if len(all) > 0 {
		reason = v1alpha1.ReasonReconcileFailed
	}
	add := func(format string, args ...any) {
		all = append(all, status.Problem{Text: fmt.Sprintf(format, args...)})
	}
	for i, m := range found.missing {
		if i == 0 {
			reason = m.Reason
		}
		add("%s: %s", m.Field, m.Message)
	}
	for _, target := range batch.Status.Targets {
		switch {
		case target.Reason == v1alpha1.ReasonNameConflict && target.Phase == v1alpha1.PhaseInvalid:
			reason, stalled = v1alpha1.ReasonNameConflict, true
			add("target %s: BackupConfiguration %s exists and does not belong to this batch: rename the target or "+
				"delete that BackupConfiguration", target.Name, target.Configuration)
		case target.Phase == v1alpha1.PhaseInvalid:
			stalled = true
			add("target %s: %s, see BackupConfiguration %s", target.Name, target.Reason, target.Configuration)
		case target.Phase != v1alpha1.PhaseReady:
			add("target %s: %s", target.Name, target.Reason)
		}
	}
	for _, session := range policy.BatchSessions(batch) {
		if err := found.conflicts[session.Name]; err != nil {
			reason, stalled = v1alpha1.ReasonNameConflict, true
			add("%s", err.Error())
		}
	}

	if len(all) == 0 {
		batch.Status.Phase = v1alpha1.PhaseReady
		status.Ready(batch, readyMessage(batch))
		return
	}
	batch.Status.Phase = v1alpha1.PhaseNotReady
	if message := status.Message(batch, all, now); stalled {
		status.Stalled(batch, reason, message)
	} else {
		status.NotReady(batch, reason, message)
	}
}

// stateOf returns the phase of a target and the reason why it is not ready. failed is the error of the write of its
// child. One write carries the phase of a child and its Ready condition, so where they differ, somebody else wrote one
// of them.
func stateOf(child *v1alpha1.BackupConfiguration, failed error) (phase, reason string) {
	switch {
	case trigger.Refused(failed):
		return v1alpha1.PhaseNotReady, v1alpha1.ReasonReconcileFailed
	case failed != nil:
		return v1alpha1.PhaseNotReady, v1alpha1.ReasonProgressing
	case child == nil:
		return v1alpha1.PhaseInvalid, v1alpha1.ReasonNameConflict
	case !child.DeletionTimestamp.IsZero(), child.Status.ObservedGeneration != child.Generation,
		child.Status.Phase == "":
		return v1alpha1.PhaseNotReady, v1alpha1.ReasonProgressing
	case conditions.IsReady(child) != (child.Status.Phase == v1alpha1.PhaseReady):
		return v1alpha1.PhaseNotReady, v1alpha1.ReasonProgressing
	case conditions.IsReady(child):
		return v1alpha1.PhaseReady, ""
	default:
		return child.Status.Phase, conditions.GetReason(child, meta.ReadyCondition)
	}
}
