package retention

import (
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Marked reports whether a rule of a RetentionPolicy lets a Snapshot go, as its condition Retained tells.
func Marked(s *v1alpha1.Snapshot) bool {
	switch conditions.GetReason(s, v1alpha1.ConditionRetained) {
	case v1alpha1.ReasonTooOld, v1alpha1.ReasonNotKept:
		return conditions.IsFalse(s, v1alpha1.ConditionRetained)
	}
	return false
}

// MarkDeleted writes to a Snapshot whose data is gone that somebody deleted the Snapshot, and reports whether it did.
// It changes no reason that is set already.
func MarkDeleted(s *v1alpha1.Snapshot) bool {
	if conditions.Has(s, v1alpha1.ConditionRetained) {
		return false
	}
	conditions.MarkFalse(s, v1alpha1.ConditionRetained, v1alpha1.ReasonDeleted,
		"the Snapshot was deleted with deletionPolicy WipeOut")
	return true
}

// MarkRepositoryWiped writes to a Snapshot that it goes with its Repository.
func MarkRepositoryWiped(s *v1alpha1.Snapshot) {
	conditions.MarkFalse(s, v1alpha1.ConditionRetained, v1alpha1.ReasonRepositoryWiped,
		"the Repository was deleted with deletionPolicy WipeOut")
}
