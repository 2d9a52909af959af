package backupstorage

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
)

// statusOf returns the fields and messages with which a storage reports its init Job.
func statusOf(s *v1alpha1.BackupStorage) initjob.Status {
	return initjob.Status{
		Object: s, Phase: &s.Status.Phase, ObservedGeneration: &s.Status.ObservedGeneration,
		Condition: v1alpha1.ConditionBackendInitialized,
		Succeeded: v1alpha1.ReasonBackendInitializationSucceeded, Failed: v1alpha1.ReasonBackendInitializationFailed,
		Done: "the backend has its metadata.yaml", Usable: "the backend can be used",
		Begun:  "the backend is being initialised",
		Proved: true,
	}
}
