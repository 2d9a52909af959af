package repository

import (
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var ownedConditions = []string{
	meta.ReadyCondition, meta.ReconcilingCondition, meta.StalledCondition, v1alpha1.ConditionRepositoryInitialized,
}

// ready says that the repository can be backed up into.
func ready(r *v1alpha1.Repository) {
	r.Status.Phase = v1alpha1.PhaseReady
	conditions.Delete(r, meta.ReconcilingCondition)
	conditions.Delete(r, meta.StalledCondition)
	conditions.MarkTrue(r, v1alpha1.ConditionRepositoryInitialized, v1alpha1.ReasonRepositoryInitializationSucceeded, "repository.yaml is in the directory")
	conditions.MarkTrue(r, meta.ReadyCondition, v1alpha1.ReasonReady, "the repository can be used")
}

// notReady says what went wrong and is tried again.
func notReady(r *v1alpha1.Repository, reason, message string) {
	r.Status.Phase = v1alpha1.PhaseNotReady
	conditions.Delete(r, meta.StalledCondition)
	conditions.MarkReconciling(r, v1alpha1.ReasonProgressingWithRetry, "%s", message)
	conditions.MarkFalse(r, meta.ReadyCondition, reason, "%s", message)
}

// stall says what only a change of policy can mend.
func stall(r *v1alpha1.Repository, reason, message string) {
	r.Status.Phase = v1alpha1.PhaseNotReady
	conditions.Delete(r, meta.ReconcilingCondition)
	conditions.MarkStalled(r, reason, "%s", message)
	conditions.MarkFalse(r, meta.ReadyCondition, reason, "%s", message)
}

// progressing says that an init Job runs. A failure of an init Job that is tried again stays until that one ends.
func progressing(r *v1alpha1.Repository) {
	if conditions.IsFalse(r, meta.ReadyCondition) && conditions.IsFalse(r, v1alpha1.ConditionRepositoryInitialized) && !conditions.IsStalled(r) {
		return
	}
	r.Status.Phase = v1alpha1.PhaseNotReady
	conditions.Delete(r, meta.StalledCondition)
	const message = "the repository is being initialised"
	conditions.MarkReconciling(r, v1alpha1.ReasonProgressing, message)
	conditions.MarkUnknown(r, v1alpha1.ConditionRepositoryInitialized, v1alpha1.ReasonProgressing, message)
	conditions.MarkUnknown(r, meta.ReadyCondition, v1alpha1.ReasonProgressing, message)
}
