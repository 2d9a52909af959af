package backupconfiguration

import (
	"fmt"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/kube/trigger"
	"github.com/cairn-backup/cairn/internal/policy"
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
	// refused is what the API server refuses and holds up nothing else.
	refused []error
	// unchecked is why the checks are not complete.
	unchecked error
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

// messageOf returns the message of Ready: what the API server refuses, and some of the findings.
func (f *findings) messageOf(configuration *v1alpha1.BackupConfiguration, some []finding, now time.Time) string {
	problems := trigger.Problems(f.refused)
	for _, found := range some {
		problems = append(problems, status.Problem{Text: found.message})
	}
	return status.Message(configuration, problems, now)
}

// summarize sets phase and conditions. Findings that need a change of policy come before those that can pass.
func summarize(configuration *v1alpha1.BackupConfiguration, f *findings, now time.Time) {
	if wrong := f.only(true); len(wrong) > 0 {
		configuration.Status.Phase = v1alpha1.PhaseInvalid
		message := f.messageOf(configuration, wrong, now)
		conditions.MarkFalse(configuration, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationFailed,
			"%s", message)
		status.Stalled(configuration, wrong[0].reason, message)
		return
	}
	if f.unchecked == nil {
		conditions.MarkTrue(configuration, v1alpha1.ConditionValidationPassed, v1alpha1.ReasonResourceValidationPassed,
			"the policy is valid")
	}
	missing := f.only(false)
	if len(f.refused) == 0 && len(missing) == 0 {
		configuration.Status.Phase = v1alpha1.PhaseReady
		status.Ready(configuration, fmt.Sprintf("%s can be backed up", configuration.Spec.Target))
		return
	}
	reason := v1alpha1.ReasonReconcileFailed
	if len(f.refused) == 0 {
		reason = missing[0].reason
	}
	configuration.Status.Phase = v1alpha1.PhaseNotReady
	status.NotReady(configuration, reason, f.messageOf(configuration, missing, now))
}
