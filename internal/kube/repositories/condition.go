package repositories

import (
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// SetRetained sets the condition RepositoriesRetained of a policy from what its status lists.
func SetRetained(object conditions.Setter, found v1alpha1.RetainedRepositories) {
	if found.RetainedCount == 0 {
		conditions.Delete(object, v1alpha1.ConditionRepositoriesRetained)
		return
	}
	conditions.MarkTrue(object, v1alpha1.ConditionRepositoriesRetained, found.Retained[0].Reason, "%s",
		policy.RetainedMessage(found))
}
