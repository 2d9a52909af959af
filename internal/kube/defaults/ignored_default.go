package defaults

import (
	"slices"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// MarkIgnoredDefault sets a condition on an object that is no default where its spec lets one expect it: an older
// candidate is the default of its namespace, or it lets other namespaces use it and is not the administrators'. The
// object can still be used by name. MarkIgnoredDefault removes the condition from any other object. The candidates are
// those of the object's namespace.
func MarkIgnoredDefault(
	object conditions.Setter, kind string, candidates []complete.DefaultCandidate, administrators policy.Administrators,
) {
	i := slices.IndexFunc(candidates, func(c complete.DefaultCandidate) bool {
		return c.GetNamespace() == object.GetNamespace() && c.GetName() == object.GetName()
	})
	if i < 0 {
		conditions.Delete(object, v1alpha1.ConditionDefaultIgnored)
		return
	}
	elder := complete.ElderDefault(candidates, object)
	switch {
	case elder != nil:
		conditions.MarkTrue(object, v1alpha1.ConditionDefaultIgnored, v1alpha1.ReasonDefaultTaken, "%s",
			complete.SecondDefaultMessage(kind, elder.GetName()))
	case candidates[i].OffersItself() && !administrators.Has(object.GetNamespace()):
		conditions.MarkTrue(object, v1alpha1.ConditionDefaultIgnored, v1alpha1.ReasonDefaultNotShared, "%s",
			complete.OnlyOwnDefaultMessage(object.GetNamespace()))
	default:
		conditions.Delete(object, v1alpha1.ConditionDefaultIgnored)
	}
}
