package rebuilt

import (
	"cmp"
	"slices"

	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Policies are the policies of the namespace of a Repository.
type Policies struct {
	Configurations []v1alpha1.BackupConfiguration
	Batches        []v1alpha1.BackupBatch
}

// pointLabels are the labels that make a Snapshot part of a restore point of a BackupBatch.
var pointLabels = []string{
	v1alpha1.LabelInvokerKind, v1alpha1.LabelInvokerName, v1alpha1.LabelConfiguration, v1alpha1.LabelRestorePoint,
	v1alpha1.LabelRestorePointUID,
}

// strange reports whether labels make a Snapshot of target part of a restore point to which the Repository has nothing
// to add. Otherwise whoever can write to the backend of one Repository could decide what a restore of any batch, or of
// any other target of its batch, brings back. Names that nothing here knows are left, so that they can be restored.
func (p Policies) strange(
	r *v1alpha1.Repository, labels map[string]string, target v1alpha1.TypedObjectReference,
) bool {
	name := labels[v1alpha1.LabelInvokerName]
	if labels[v1alpha1.LabelInvokerKind] != v1alpha1.BackupBatchKind || name == "" {
		return false
	}
	x := claim{repository: r.Name, configuration: labels[v1alpha1.LabelConfiguration], target: target}
	x.children(p.Configurations, name)
	if !x.known {
		x.targets(p.Batches, name)
	}
	owner := r.Labels[v1alpha1.LabelInvokerKind]
	if x.known || owner == v1alpha1.BackupBatchKind && r.Labels[v1alpha1.LabelInvokerName] == name {
		return x.known && !x.agrees
	}
	return owner != "" || slices.ContainsFunc(p.Batches, func(b v1alpha1.BackupBatch) bool {
		return policy.LabelValue(b.Name) == name
	})
}

// claim is what the backend of a Repository says about a Snapshot: which BackupConfiguration of a BackupBatch made it,
// and of which target.
type claim struct {
	repository, configuration string
	target                    v1alpha1.TypedObjectReference
	// known says that policy knows the BackupConfiguration, or uses the Repository, and agrees that both are so.
	known, agrees bool
}

// compare notes what a BackupConfiguration says about the claim. uses reports whether the BackupConfiguration uses the
// Repository.
func (x *claim) compare(configuration string, target v1alpha1.TypedObjectReference, uses bool) {
	named := policy.LabelValue(configuration) == x.configuration
	uses = uses && (x.target.Name == "" || target.Name == "" || policy.SameKindAndName(x.target, target))
	x.known, x.agrees = x.known || named || uses, x.agrees || named && uses
}

// children compares the claim with the BackupConfigurations that a BackupBatch has.
func (x *claim) children(all []v1alpha1.BackupConfiguration, batch string) {
	for i := range all {
		c := &all[i]
		invoker := policy.InvokerOf(c)
		if invoker.Kind != v1alpha1.BackupBatchKind || policy.LabelValue(invoker.Name) != batch {
			continue
		}
		uses := false
		for j := range c.Spec.Sessions {
			for _, info := range policy.RepositoriesOf(&c.Spec.Sessions[j]) {
				uses = uses || cmp.Or(info.Name, c.Name) == x.repository
			}
		}
		x.compare(c.Name, ptr.Deref(c.Spec.Target, v1alpha1.TypedObjectReference{}), uses)
	}
}

// targets compares the claim with the BackupConfigurations that a BackupBatch will make.
func (x *claim) targets(all []v1alpha1.BackupBatch, batch string) {
	for i := range all {
		if policy.LabelValue(all[i].Name) != batch {
			continue
		}
		for _, t := range policy.KnownTargets(&all[i]) {
			uses := slices.ContainsFunc(policy.BatchRepositories(&all[i], []policy.Target{t}),
				func(c policy.ChosenRepository) bool { return c.Name == x.repository })
			x.compare(policy.ChildName(all[i].Name, t.Name), t.AppRef, uses)
		}
	}
}
