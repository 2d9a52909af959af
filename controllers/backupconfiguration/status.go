package backupconfiguration

import (
	"fmt"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/text"
)

// finding is one reason why a configuration is not ready.
type finding struct {
	reason, message string
	// invalid findings need a change of policy; the others can pass by themselves.
	invalid bool
}

// findings holds each finding once, in the order of discovery.
type findings struct {
	all []finding
	// dependencies are the objects that the checks looked for.
	dependencies policy.Dependencies
	// atRisk holds the messages of Repositories whose VolumeSnapshots are easily lost.
	atRisk []string
	// lookAgain reports that an object is missing that no watch covers.
	lookAgain bool
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

func messageOf(some []finding) string {
	messages := make([]string, len(some))
	for i, found := range some {
		messages[i] = found.message
	}
	return text.Join(messages)
}

// summarize sets phase and conditions. Findings that need a change of policy come before those that can pass.
func summarize(configuration *v1alpha1.BackupConfiguration, f *findings) {
	if wrong := f.only(true); len(wrong) > 0 {
		configuration.Status.Phase = v1alpha1.PhaseInvalid
		message := messageOf(wrong)
		conditions.MarkFalse(configuration, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationFailed,
			"%s", message)
		status.Stalled(configuration, wrong[0].reason, message)
		return
	}
	conditions.MarkTrue(configuration, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationPassed,
		"the policy is valid")
	if missing := f.only(false); len(missing) > 0 {
		configuration.Status.Phase = v1alpha1.PhaseNotReady
		status.NotReady(configuration, missing[0].reason, messageOf(missing))
		return
	}
	configuration.Status.Phase = v1alpha1.PhaseReady
	status.Ready(configuration, fmt.Sprintf("%s can be backed up", configuration.Spec.Target))
}
