package policy

import (
	"fmt"
	"strings"

	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// SystemPriorityPrefix begins the names of the priority classes that Kubernetes keeps for its own components. Pods of
// these classes push out the pods of everybody else.
const SystemPriorityPrefix = "system-"

// ScheduleMistakes finds the invalid schedulers in the sessions of an object of this kind, namespace and name. Session
// i is at spec.sessions[i].
func ScheduleMistakes(kind, namespace, name string, sessions []v1alpha1.SessionConfig) []Mistake {
	var mistakes []Mistake
	for i, session := range sessions {
		if session.Scheduler == nil {
			continue
		}
		if t := session.Scheduler.JobTemplate; t != nil &&
			strings.HasPrefix(t.Template.Spec.PriorityClassName, SystemPriorityPrefix) {
			mistakes = append(mistakes, Mistake{
				Field:  fmt.Sprintf("spec.sessions[%d].scheduler.jobTemplate.template.spec.priorityClassName", i),
				Reason: v1alpha1.ReasonPrivilegeRequired,
				Message: fmt.Sprintf("priorityClassName %s is for components of Kubernetes, and the pod that starts a "+
					"run is none: use another class, or leave it out", t.Template.Spec.PriorityClassName),
			})
		}
		if _, err := schedule.New(session.Scheduler, schedule.Identity(kind, namespace, name,
			session.Name)); err != nil {
			field := "schedule"
			if _, err := schedule.Zone(ptr.Deref(session.Scheduler.TimeZone, "")); err != nil {
				field = "timeZone"
			}
			mistakes = append(mistakes, Mistake{
				Field:   fmt.Sprintf("spec.sessions[%d].scheduler.%s", i, field),
				Reason:  v1alpha1.ReasonInvalidSchedule,
				Message: err.Error(),
			})
		}
	}
	return mistakes
}

// BatchMistakes returns everything that keeps a batch from being used, as far as the batch and the results of its
// selectors show it: the mistakes that Expand reports, and invalid schedules.
func BatchMistakes(batch *v1alpha1.BackupBatch, find Find) []Mistake {
	return append(batchMistakes(batch, find), ScheduleMistakes(v1alpha1.BackupBatchKind, batch.Namespace, batch.Name,
		BatchSessions(batch))...)
}

// BatchSessions returns the part of a batch's sessions that sessions of a BackupConfiguration have too, in order.
func BatchSessions(batch *v1alpha1.BackupBatch) []v1alpha1.SessionConfig {
	sessions := make([]v1alpha1.SessionConfig, len(batch.Spec.Sessions))
	for i := range batch.Spec.Sessions {
		sessions[i] = batch.Spec.Sessions[i].SessionConfig
	}
	return sessions
}

// ConfigurationSessions returns the part of a BackupConfiguration's sessions that sessions of a batch have too, in
// order.
func ConfigurationSessions(configuration *v1alpha1.BackupConfiguration) []v1alpha1.SessionConfig {
	sessions := make([]v1alpha1.SessionConfig, len(configuration.Spec.Sessions))
	for i := range configuration.Spec.Sessions {
		sessions[i] = configuration.Spec.Sessions[i].SessionConfig
	}
	return sessions
}
