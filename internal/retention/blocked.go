package retention

import (
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Waits reports whether a removal with this reason waits: it has not failed.
func Waits(reason string) bool {
	switch reason {
	case v1alpha1.ReasonInUse, v1alpha1.ReasonRemovalPending, v1alpha1.ReasonRemovalHeld,
		v1alpha1.ReasonNotChecked, v1alpha1.ReasonLastSuccess:
		return true
	}
	return false
}

// Blocked returns the first Snapshot whose removal has failed, or else the first that waits. It returns nil if no
// removal is blocked. A wait for one Snapshot must not hide the failure of another.
func Blocked(removing []*v1alpha1.Snapshot) *v1alpha1.Snapshot {
	var waiting *v1alpha1.Snapshot
	for _, s := range removing {
		switch {
		case !conditions.IsFalse(s, v1alpha1.ConditionWiped):
		case !Waits(conditions.GetReason(s, v1alpha1.ConditionWiped)):
			return s
		case waiting == nil:
			waiting = s
		}
	}
	return waiting
}
