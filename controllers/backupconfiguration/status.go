package backupconfiguration

import (
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/patch"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const readyCondition = meta.ReadyCondition

var ownedConditions = []string{
	meta.ReadyCondition, meta.ReconcilingCondition, meta.StalledCondition, v1alpha1.ConditionValidationPassed,
}

func patchOptions(manager string) []patch.Option {
	return []patch.Option{patch.WithOwnedConditions{Conditions: ownedConditions}, patch.WithFieldOwner(manager)}
}

// finding is one thing that keeps a configuration from being ready.
type finding struct {
	reason, message string
	// invalid findings need a change of policy; the others can pass by themselves.
	invalid bool
}

// findings in the order in which they were found, each once.
type findings struct {
	all []finding
}

func (f *findings) invalid(reason, message string)  { f.add(finding{reason, message, true}) }
func (f *findings) notReady(reason, message string) { f.add(finding{reason, message, false}) }

func (f *findings) add(found finding) {
	for _, known := range f.all {
		if known == found {
			return
		}
	}
	f.all = append(f.all, found)
}

func (f *findings) anyInvalid() bool { return len(f.only(true)) > 0 }

func (f *findings) only(invalid bool) []finding {
	var some []finding
	for _, found := range f.all {
		if found.invalid == invalid {
			some = append(some, found)
		}
	}
	return some
}

// maxMessage keeps a condition's message readable; the API server's limit is 32,768.
const maxMessage = 2048

func messageOf(some []finding) string {
	messages := make([]string, len(some))
	for i, found := range some {
		messages[i] = found.message
	}
	message := strings.Join(messages, "; ")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + " …"
	}
	return message
}

// summarize sets phase and conditions. What needs a change of policy comes before what can pass.
func summarize(configuration *v1alpha1.BackupConfiguration, f *findings) {
	if wrong := f.only(true); len(wrong) > 0 {
		configuration.Status.Phase = v1alpha1.PhaseInvalid
		message := messageOf(wrong)
		conditions.MarkFalse(configuration, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationFailed, "%s", message)
		conditions.MarkFalse(configuration, meta.ReadyCondition, wrong[0].reason, "%s", message)
		conditions.Delete(configuration, meta.ReconcilingCondition)
		conditions.MarkStalled(configuration, wrong[0].reason, "%s", message)
		return
	}
	conditions.MarkTrue(configuration, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationPassed, "the policy can work")
	conditions.Delete(configuration, meta.StalledCondition)
	if missing := f.only(false); len(missing) > 0 {
		configuration.Status.Phase = v1alpha1.PhaseNotReady
		message := messageOf(missing)
		conditions.MarkReconciling(configuration, v1alpha1.ReasonProgressingWithRetry, "%s", message)
		conditions.MarkFalse(configuration, meta.ReadyCondition, missing[0].reason, "%s", message)
		return
	}
	configuration.Status.Phase = v1alpha1.PhaseReady
	conditions.Delete(configuration, meta.ReconcilingCondition)
	conditions.MarkTrue(configuration, meta.ReadyCondition, v1alpha1.ReasonReady, "%s can be backed up", configuration.Spec.Target)
}
