package backupstorage

import (
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kstatus"
)

// settle sets what goes with each set of conditions.
func settle(s *v1alpha1.BackupStorage, phase string) {
	s.Status.Phase, s.Status.ObservedGeneration = phase, s.Generation
}

// ready says that the backend can be used.
func ready(s *v1alpha1.BackupStorage) {
	settle(s, v1alpha1.PhaseReady)
	conditions.MarkTrue(s, v1alpha1.ConditionBackendInitialized, v1alpha1.ReasonBackendInitializationSucceeded, "metadata.yaml is in the backend")
	kstatus.Ready(s, "the backend can be used")
}

// notReady says what went wrong and is tried again.
func notReady(s *v1alpha1.BackupStorage, reason, message string) {
	settle(s, v1alpha1.PhaseNotReady)
	kstatus.NotReady(s, reason, message)
}

// failed says how the init Job ended.
func failed(s *v1alpha1.BackupStorage, reason, message string) {
	conditions.MarkFalse(s, v1alpha1.ConditionBackendInitialized, v1alpha1.ReasonBackendInitializationFailed, "%s", message)
	notReady(s, reason, message)
}

// stall says what only a change of policy can mend.
func stall(s *v1alpha1.BackupStorage, reason, message string) {
	settle(s, v1alpha1.PhaseNotReady)
	kstatus.Stalled(s, reason, message)
}

// progressing says that an init Job runs. While the spec is the same, the failure of an init Job that is tried again stays
// until that one ends, and so does the readiness of a backend of which only the credential is proved anew.
func progressing(s *v1alpha1.BackupStorage) {
	retried := kstatus.Because(s, v1alpha1.ConditionBackendInitialized)
	if s.Status.ObservedGeneration == s.Generation && (retried || conditions.IsReady(s)) {
		return
	}
	settle(s, v1alpha1.PhaseNotReady)
	const message = "the backend is being initialised"
	conditions.MarkUnknown(s, v1alpha1.ConditionBackendInitialized, v1alpha1.ReasonProgressing, message)
	kstatus.Progressing(s, message)
}
