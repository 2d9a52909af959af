package backupbatch

import (
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/patch"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

const readyCondition = meta.ReadyCondition

var ownedConditions = []string{
	meta.ReadyCondition, meta.ReconcilingCondition, meta.StalledCondition, v1alpha1.ConditionValidationPassed,
}

func patchOptions(manager string) []patch.Option {
	return []patch.Option{patch.WithOwnedConditions{Conditions: ownedConditions}, patch.WithFieldOwner(manager)}
}

// maxMessage keeps a condition's message readable; the API server's limit is 32,768.
const maxMessage = 2048

func joined(messages []string) string {
	message := strings.Join(messages, "; ")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + " …"
	}
	return message
}

// markInvalid says that the batch can't be expanded or scheduled. What was made of it before stays in force.
func markInvalid(batch *v1alpha1.BackupBatch, mistakes []policy.Mistake) {
	messages := make([]string, len(mistakes))
	for i, m := range mistakes {
		messages[i] = m.Field + ": " + m.Message
	}
	message := joined(messages)
	batch.Status.Phase = v1alpha1.PhaseInvalid
	conditions.MarkFalse(batch, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationFailed, "%s", message)
	conditions.MarkFalse(batch, meta.ReadyCondition, mistakes[0].Reason, "%s", message)
	conditions.Delete(batch, meta.ReconcilingCondition)
	conditions.MarkStalled(batch, mistakes[0].Reason, "%s", message)
}

// summarize sets phase and conditions of a batch that was expanded, from the state of its targets and sessions. It is
// stalled while something needs a change of policy.
func summarize(batch *v1alpha1.BackupBatch, sessions []v1alpha1.SessionConfig, conflicts map[string]error) {
	conditions.MarkTrue(batch, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationPassed, "the policy can work")
	var messages []string
	reason, stalled := v1alpha1.ReasonChildrenNotReady, false
	for _, target := range batch.Status.Targets {
		switch {
		case target.Reason == v1alpha1.ReasonNameConflict && target.Phase == v1alpha1.PhaseInvalid:
			reason, stalled = v1alpha1.ReasonNameConflict, true
			messages = append(messages, fmt.Sprintf("target %s: BackupConfiguration %s exists and is not this batch's: rename the target or remove it",
				target.Name, target.Configuration))
		case target.Phase == v1alpha1.PhaseInvalid:
			stalled = true
			messages = append(messages, fmt.Sprintf("target %s: %s, see BackupConfiguration %s", target.Name, target.Reason, target.Configuration))
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

	// A condition is deleted only where it does not hold, so that one that still holds keeps its time.
	if len(messages) == 0 {
		batch.Status.Phase = v1alpha1.PhaseReady
		conditions.Delete(batch, meta.StalledCondition)
		conditions.Delete(batch, meta.ReconcilingCondition)
		conditions.MarkTrue(batch, meta.ReadyCondition, v1alpha1.ReasonReady, "every target can be backed up")
		return
	}
	batch.Status.Phase = v1alpha1.PhaseNotReady
	message := joined(messages)
	if stalled {
		conditions.Delete(batch, meta.ReconcilingCondition)
		conditions.MarkStalled(batch, reason, "%s", message)
	} else {
		conditions.Delete(batch, meta.StalledCondition)
		conditions.MarkReconciling(batch, v1alpha1.ReasonProgressing, "%s", message)
	}
	conditions.MarkFalse(batch, meta.ReadyCondition, reason, "%s", message)
}
