package policy

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// ScheduleMistakes are the schedules that can't be used among the sessions of an object of that kind, namespace and name;
// session i stands at spec.sessions[i].
func ScheduleMistakes(kind, namespace, name string, sessions []v1alpha1.SessionConfig) []Mistake {
	var mistakes []Mistake
	for i, session := range sessions {
		if session.Scheduler == nil {
			continue
		}
		if _, err := schedule.New(session.Scheduler, schedule.Identity(kind, namespace, name, session.Name)); err != nil {
			mistakes = append(mistakes, Mistake{
				Field:   fmt.Sprintf("spec.sessions[%d].scheduler.schedule", i),
				Reason:  v1alpha1.ReasonInvalidSchedule,
				Message: err.Error(),
			})
		}
	}
	return mistakes
}

// BatchMistakes is everything that keeps a batch from being used, as far as it and what its selectors find can tell: what Expand
// refuses, and schedules.
func BatchMistakes(batch *v1alpha1.BackupBatch, find Find) []Mistake {
	return append(batchMistakes(batch, find), ScheduleMistakes(v1alpha1.BackupBatchKind, batch.Namespace, batch.Name, BatchSessions(batch))...)
}

// BatchSessions is what the sessions of a batch have in common with those of a BackupConfiguration, in order.
func BatchSessions(batch *v1alpha1.BackupBatch) []v1alpha1.SessionConfig {
	sessions := make([]v1alpha1.SessionConfig, len(batch.Spec.Sessions))
	for i := range batch.Spec.Sessions {
		sessions[i] = batch.Spec.Sessions[i].SessionConfig
	}
	return sessions
}

// ConfigurationSessions is what the sessions of a BackupConfiguration have in common with those of a batch, in order.
func ConfigurationSessions(configuration *v1alpha1.BackupConfiguration) []v1alpha1.SessionConfig {
	sessions := make([]v1alpha1.SessionConfig, len(configuration.Spec.Sessions))
	for i := range configuration.Spec.Sessions {
		sessions[i] = configuration.Spec.Sessions[i].SessionConfig
	}
	return sessions
}
