package rebuilt

import (
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// Policies are the policies of the namespace of a Repository.
type Policies struct {
	Configurations []v1alpha1.BackupConfiguration
	Batches        []v1alpha1.BackupBatch
}

// pointLabels are the labels that make a Snapshot part of a restore point of a BackupBatch.
var pointLabels = []string{
	v1alpha1.LabelInvokerKind, v1alpha1.LabelInvokerName, v1alpha1.LabelConfiguration, v1alpha1.LabelRestorePoint,
}

// strange reports whether labels name a BackupBatch to which the Repository does not belong. Otherwise whoever can
// write to the backend of one Repository could decide what a restore of any batch of the namespace brings back. A batch
// that does not exist here has no restore points of its own: its name is left, so that it can be restored.
func (p Policies) strange(r *v1alpha1.Repository, labels map[string]string) bool {
	name := labels[v1alpha1.LabelInvokerName]
	if labels[v1alpha1.LabelInvokerKind] != v1alpha1.BackupBatchKind || name == "" {
		return false
	}
	owner := r.Labels[v1alpha1.LabelInvokerKind]
	if owner == v1alpha1.BackupBatchKind && r.Labels[v1alpha1.LabelInvokerName] == name {
		return false
	}
	if slices.ContainsFunc(p.Configurations, func(c v1alpha1.BackupConfiguration) bool {
		invoker := policy.InvokerOf(&c)
		_, uses := retention.PoliciesByRepository(&c)[r.Name]
		return uses && invoker.Kind == v1alpha1.BackupBatchKind && policy.LabelValue(invoker.Name) == name
	}) {
		return false
	}
	return owner != "" || slices.ContainsFunc(p.Batches, func(b v1alpha1.BackupBatch) bool {
		return policy.LabelValue(b.Name) == name
	})
}
