package retention

import (
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Blocked returns the first Snapshot whose removal has failed, or else the first that is in use. It returns nil if no
// removal is blocked. A restore of one Snapshot must not hide the failure of another.
func Blocked(removing []*v1alpha1.Snapshot) *v1alpha1.Snapshot {
	var inUse *v1alpha1.Snapshot
	for _, s := range removing {
		switch {
		case !conditions.IsFalse(s, v1alpha1.ConditionWiped):
		case conditions.GetReason(s, v1alpha1.ConditionWiped) != v1alpha1.ReasonInUse:
			return s
		case inUse == nil:
			inUse = s
		}
	}
	return inUse
}
