package repository

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
)

// statusOf returns the fields and messages with which a Repository reports its init Job.
func statusOf(r *v1alpha1.Repository) initjob.Status {
	return initjob.Status{
		Object: r, Phase: &r.Status.Phase, ObservedGeneration: &r.Status.ObservedGeneration,
		Condition: v1alpha1.ConditionRepositoryInitialized,
		Succeeded: v1alpha1.ReasonRepositoryInitializationSucceeded,
		Failed:    v1alpha1.ReasonRepositoryInitializationFailed,
		Done:      "repository.yaml is in the directory", Usable: "the repository can be used",
		Begun: "the repository is being initialised",
	}
}
