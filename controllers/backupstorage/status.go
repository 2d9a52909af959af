package backupstorage

import (
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var ownedConditions = []string{
	meta.ReadyCondition, meta.ReconcilingCondition, meta.StalledCondition,
	v1alpha1.ConditionBackendInitialized, v1alpha1.ConditionBackendSecretFound,
}

// ready says that the backend can be used.
func ready(s *v1alpha1.BackupStorage) {
	s.Status.Phase = v1alpha1.PhaseReady
	conditions.Delete(s, meta.ReconcilingCondition)
	conditions.Delete(s, meta.StalledCondition)
	conditions.MarkTrue(s, v1alpha1.ConditionBackendInitialized, v1alpha1.ReasonBackendInitializationSucceeded, "metadata.yaml is in the backend")
	conditions.MarkTrue(s, meta.ReadyCondition, v1alpha1.ReasonReady, "the backend can be used")
}

// notReady says what went wrong and is tried again.
func notReady(s *v1alpha1.BackupStorage, reason, message string) {
	s.Status.Phase = v1alpha1.PhaseNotReady
	conditions.Delete(s, meta.StalledCondition)
	conditions.MarkReconciling(s, v1alpha1.ReasonProgressingWithRetry, "%s", message)
	conditions.MarkFalse(s, meta.ReadyCondition, reason, "%s", message)
}

// stall says what only a change of policy can mend.
func stall(s *v1alpha1.BackupStorage, reason, message string) {
	s.Status.Phase = v1alpha1.PhaseNotReady
	conditions.Delete(s, meta.ReconcilingCondition)
	conditions.MarkStalled(s, reason, "%s", message)
	conditions.MarkFalse(s, meta.ReadyCondition, reason, "%s", message)
}

// progressing says that an init Job runs. A failure that is tried again stays until the Job ends, and so does the readiness
// of a backend of which only the credential is proved anew.
func progressing(s *v1alpha1.BackupStorage, sameSpec bool) {
	if conditions.IsFalse(s, meta.ReadyCondition) && !conditions.IsStalled(s) || conditions.IsReady(s) && sameSpec {
		return
	}
	s.Status.Phase = v1alpha1.PhaseNotReady
	conditions.Delete(s, meta.StalledCondition)
	const message = "the backend is being initialised"
	conditions.MarkReconciling(s, v1alpha1.ReasonProgressing, message)
	conditions.MarkUnknown(s, v1alpha1.ConditionBackendInitialized, v1alpha1.ReasonProgressing, message)
	conditions.MarkUnknown(s, meta.ReadyCondition, v1alpha1.ReasonProgressing, message)
}
