package retention

import (
	"slices"

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

// Undamaged reports whether a Snapshot succeeded and is not known to be damaged.
func Undamaged(s *v1alpha1.Snapshot) bool {
	return s.Status.Phase == v1alpha1.SnapshotSucceeded && !v1alpha1.Damaged(s.Status.Integrity)
}

// Unchecked reports whether a scan made a Snapshot and no check has looked at it since.
func Unchecked(s *v1alpha1.Snapshot) bool { return s.Status.Integrity == nil && s.Rebuilt() }

// Whole reports whether a Snapshot stands for others that retention lets go: it succeeded, is not known to be damaged,
// was not made of what a restore had left half written, and not by a scan alone, which does not see what is damaged.
func Whole(s *v1alpha1.Snapshot) bool {
	return Undamaged(s) && !Unchecked(s) && !HalfRestored(s)
}

// HalfRestored reports whether a Snapshot was made of what a restore had left half written.
func HalfRestored(s *v1alpha1.Snapshot) bool {
	return s.Annotations[v1alpha1.AnnotationHalfRestored] != ""
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

// MarkWiped writes to a Snapshot that waits for its record whether its data is gone, and reports whether it did. The
// record says the same.
func MarkWiped(s *v1alpha1.Snapshot, gone bool, why string) bool {
	switch {
	case !slices.Contains(s.Finalizers, v1alpha1.FinalizerRecord):
		return false
	case gone:
		conditions.MarkTrue(s, v1alpha1.ConditionWiped, v1alpha1.ReasonWiped, "%s", why)
	default:
		conditions.MarkFalse(s, v1alpha1.ConditionWiped, v1alpha1.ReasonDataKept, "%s", why)
	}
	return true
}

// MarkRepositoryWiped writes to a Snapshot that it goes with its Repository.
func MarkRepositoryWiped(s *v1alpha1.Snapshot) {
	conditions.MarkFalse(s, v1alpha1.ConditionRetained, v1alpha1.ReasonRepositoryWiped,
		"the Repository was deleted with deletionPolicy WipeOut")
}
