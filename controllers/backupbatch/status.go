package backupbatch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
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

// emptySelectors names the targets whose selectors find nothing. It returns "" if there are none.
func emptySelectors(batch *v1alpha1.BackupBatch) string {
	var names []string
	for i := range batch.Spec.Targets {
		t := &batch.Spec.Targets[i]
		if t.Selector != nil && !slices.ContainsFunc(batch.Status.Targets,
			func(s v1alpha1.BatchTargetStatus) bool { return s.FoundBy == t.Name }) {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "every target that exists can be backed up; these selectors find nothing: " + strings.Join(names, ", ")
}

// summarize sets the phase and the conditions of an expanded batch from the state of its targets and sessions. The
// batch is stalled while something needs a change of policy. missing is what its hooks name that does not exist.
func summarize(
	batch *v1alpha1.BackupBatch, sessions []v1alpha1.SessionConfig, conflicts map[string]error,
	missing []policy.Mistake,
) {
	conditions.MarkTrue(batch, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationPassed,
		"the policy is valid")
	var messages []string
	reason, stalled := v1alpha1.ReasonChildrenNotReady, false
	for i, m := range missing {
		if i == 0 {
			reason = m.Reason
		}
		messages = append(messages, m.Field+": "+m.Message)
	}
	for _, target := range batch.Status.Targets {
		switch {
		case target.Reason == v1alpha1.ReasonNameConflict && target.Phase == v1alpha1.PhaseInvalid:
			reason, stalled = v1alpha1.ReasonNameConflict, true
			messages = append(messages,
				fmt.Sprintf(
					"target %s: BackupConfiguration %s exists and does not belong to this batch: rename the target or "+
						"delete that BackupConfiguration",
					target.Name, target.Configuration))
		case target.Phase == v1alpha1.PhaseInvalid:
			stalled = true
			messages = append(messages,
				fmt.Sprintf("target %s: %s, see BackupConfiguration %s", target.Name, target.Reason,
					target.Configuration))
		case target.Phase != v1alpha1.PhaseReady:
			messages = append(messages, fmt.Sprintf("target %s: %s", target.Name, target.Reason))
		}
	}
	for _, session := range sessions {
		if err := conflicts[session.Name]; err != nil {
			reason, stalled = v1alpha1.ReasonNameConflict, true
			messages = append(messages, err.Error())
		}
	}

	if len(messages) == 0 {
		batch.Status.Phase = v1alpha1.PhaseReady
		status.Ready(batch, cmp.Or(emptySelectors(batch), "every target can be backed up"))
		return
	}
	batch.Status.Phase = v1alpha1.PhaseNotReady
	if stalled {
		status.Stalled(batch, reason, text.Join(messages))
	} else {
		status.NotReady(batch, reason, text.Join(messages))
	}
}
