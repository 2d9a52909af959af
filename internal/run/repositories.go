package run

import (
	"cmp"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// IsReady reports whether a run can begin to work with a Repository. One that is being wiped keeps its phase until its
// directory is gone.
func IsReady(r *v1alpha1.Repository) bool {
	return r.Status.Phase == v1alpha1.PhaseReady && !isBeingWiped(r)
}

// isBeingWiped reports whether the data of a Repository can go at any moment. While something works with the data, it
// stays.
func isBeingWiped(r *v1alpha1.Repository) bool {
	return !r.DeletionTimestamp.IsZero() && conditions.Has(r, v1alpha1.ConditionWiped) &&
		conditions.GetReason(r, v1alpha1.ConditionWiped) != v1alpha1.ReasonInUse
}

// WhyNotReady returns the reason and the message why a run can't use a Repository for which IsReady is false, and how
// long to wait for it. The wait is 0 if a person has to mend the Repository.
func WhyNotReady(r *v1alpha1.Repository) (reason, message string, wait time.Duration) {
	if isBeingWiped(r) {
		return v1alpha1.ReasonRepositoryNotReady, "Repository " + r.Name + " is being deleted, and its data with it", 0
	}
	wait = WaitForRepository
	if conditions.IsStalled(r) {
		wait = 0
	}
	return repositoryReason(r), "Repository " + r.Name + " is not ready: " +
		cmp.Or(conditions.GetMessage(r, meta.ReadyCondition), "it is being initialised"), wait
}

// repositoryReason returns the reason why a run can't use a Repository that is not ready: a problem with its password,
// or ReasonRepositoryNotReady.
func repositoryReason(r *v1alpha1.Repository) string {
	switch reason := conditions.GetReason(r, meta.ReadyCondition); reason {
	case v1alpha1.ReasonWrongPassword, v1alpha1.ReasonPasswordChanged, v1alpha1.ReasonEncryptionSecretNotAvailable:
		return reason
	}
	return v1alpha1.ReasonRepositoryNotReady
}
