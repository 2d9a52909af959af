package defaults

import (
	"slices"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// MarkSecondDefault sets a condition on an object if an older candidate is the default of the namespace. The object can
// still be used by name. MarkSecondDefault removes the condition from an object that is no candidate.
func MarkSecondDefault(object conditions.Setter, kind string, candidates []complete.DefaultCandidate) {
	candidate := slices.ContainsFunc(candidates, func(c complete.DefaultCandidate) bool {
		return c.GetNamespace() == object.GetNamespace() && c.GetName() == object.GetName()
	})
	elder := complete.ElderDefault(candidates, object)
	if !candidate || elder == nil {
		conditions.Delete(object, v1alpha1.ConditionDefaultIgnored)
		return
	}
	conditions.MarkTrue(object, v1alpha1.ConditionDefaultIgnored, v1alpha1.ReasonDefaultTaken, "%s",
		complete.SecondDefaultMessage(kind, elder.GetName()))
}
