package repository

import (
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kstatus"
)

// settle sets what goes with each set of conditions.
func settle(r *v1alpha1.Repository, phase string) {
	r.Status.Phase, r.Status.ObservedGeneration = phase, r.Generation
}

// ready says that the repository can be backed up into.
func ready(r *v1alpha1.Repository) {
	settle(r, v1alpha1.PhaseReady)
	conditions.MarkTrue(r, v1alpha1.ConditionRepositoryInitialized, v1alpha1.ReasonRepositoryInitializationSucceeded, "repository.yaml is in the directory")
	kstatus.Ready(r, "the repository can be used")
}

// notReady says what went wrong and is tried again.
func notReady(r *v1alpha1.Repository, reason, message string) {
	settle(r, v1alpha1.PhaseNotReady)
	kstatus.NotReady(r, reason, message)
}

// failed says how the init Job ended.
func failed(r *v1alpha1.Repository, reason, message string) {
	conditions.MarkFalse(r, v1alpha1.ConditionRepositoryInitialized, v1alpha1.ReasonRepositoryInitializationFailed, "%s", message)
	notReady(r, reason, message)
}

// stall says what only a change of policy can mend.
func stall(r *v1alpha1.Repository, reason, message string) {
	settle(r, v1alpha1.PhaseNotReady)
	kstatus.Stalled(r, reason, message)
}

// progressing says that an init Job runs. The failure of one that is tried again stays until that one ends.
func progressing(r *v1alpha1.Repository) {
	if kstatus.Because(r, v1alpha1.ConditionRepositoryInitialized) {
		return
	}
	settle(r, v1alpha1.PhaseNotReady)
	const message = "the repository is being initialised"
	conditions.MarkUnknown(r, v1alpha1.ConditionRepositoryInitialized, v1alpha1.ReasonProgressing, message)
	kstatus.Progressing(r, message)
}
