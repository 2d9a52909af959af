package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
)

// restoreBatch checks a RestoreBatch. The BackupBatch and its targets need not exist any more; if the BackupBatch is in
// the set, its targets and sessions are known.
func (c *checker) restoreBatch(o *Object) {
	var restore v1alpha1.RestoreBatch
	if !c.read(o, v1alpha1.RestoreBatchKind, &restore) {
		return
	}
	namespace := c.referenceOf(o).Namespace
	source := &restore.Spec.DataSource
	batch := c.batchOfSet(cmp.Or(source.Namespace, namespace), source.BackupBatch)
	if batch != nil && source.Session != "" && !slices.ContainsFunc(batch.Spec.Sessions,
		func(s v1alpha1.BackupBatchSession) bool { return s.Name == source.Session }) {
		c.add(SeverityError, o, policy.Mistake{
			Field: "spec.dataSource.session", Reason: v1alpha1.ReasonSessionNotFound,
			Message: fmt.Sprintf("the BackupBatch %q has no session %q", batch.Name, source.Session),
		})
	}
	for i := range restore.Spec.Targets {
		c.restoreBatchTarget(o, &restore, i, batch)
	}
	for i, w := range restore.Spec.ScaleDown {
		c.target(o, fmt.Sprintf("spec.scaleDown[%d]", i), v1alpha1.TypedObjectReference{
			APIGroup: "apps", Kind: w.Kind,
			Name: w.Name,
		})
	}
	c.hooks(o, policy.RestoreHooks(restore.Spec.Hooks), policy.RestoreBatchHookValues(&restore, namespace))
}

// restoreBatchTarget checks a target of a RestoreBatch. batch is nil if it is not in the set.
func (c *checker) restoreBatchTarget(
	o *Object, restore *v1alpha1.RestoreBatch, i int, batch *v1alpha1.BackupBatch,
) {
	namespace := c.referenceOf(o).Namespace
	t, field := &restore.Spec.Targets[i], fmt.Sprintf("spec.targets[%d]", i)
	target := t.Target
	if batch != nil {
		at := slices.IndexFunc(batch.Spec.Targets, func(b v1alpha1.BatchTarget) bool { return b.Name == t.Name })
		if at < 0 {
			c.add(SeverityError, o, policy.Mistake{
				Field: field + ".name", Reason: v1alpha1.ReasonTargetNotFound,
				Message: fmt.Sprintf("the BackupBatch %q has no target %q", batch.Name, t.Name),
			})
		} else if target == nil {
			target = &batch.Spec.Targets[at].AppRef
		}
	}
	if t.Target != nil && !OwnNamespace(*t.Target, namespace) {
		c.add(SeverityError, o, policy.Mistake{
			Field: field + ".target.namespace", Reason: v1alpha1.ReasonTargetNotFound,
			Message: OtherNamespaceMessage(*t.Target),
		})
	} else if t.Target != nil {
		c.target(o, field+".target", *t.Target)
	}
	c.addAll(o, catalog.DatabaseRestoreMistakes(field, &v1alpha1.RestoreSessionSpec{
		Target: target, Addon: t.Addon, Verify: t.Verify, DeleteExtraFiles: t.DeleteExtraFiles,
		OverwritePolicy: t.OverwritePolicy,
	}))
	if t.Addon != nil {
		c.addon(o, field+".addon", t.Addon, true, target, catalog.PlaceholdersOfRestore(target))
	} else if target != nil {
		c.noAddon(o, field+".addon", *target)
	}
	if t.Executor == v1alpha1.ExecutorSidecar && target != nil {
		spec := &v1alpha1.RestoreSessionSpec{Target: target, Addon: t.Addon}
		for _, mistake := range catalog.SidecarRestoreMistakes(spec) {
			mistake.Field = field + mistake.Field[len("spec"):]
			c.add(SeverityError, o, mistake)
		}
	}
	if t.Hooks != nil {
		session := &v1alpha1.RestoreSession{Spec: v1alpha1.RestoreSessionSpec{Target: target}}
		session.Name = policy.RestoreSessionName(restore.Name, t.Name)
		for _, h := range policy.RestoreHooks(t.Hooks) {
			h.Field = field + h.Field[len("spec"):]
			c.hooks(o, []policy.Hook{h}, policy.RestoreHookValues(session, namespace))
		}
	}
}

// batchOfSet returns the BackupBatch of the set with this name, or nil.
func (c *checker) batchOfSet(namespace, name string) *v1alpha1.BackupBatch {
	o := c.objects[Reference{GroupKind: ours(v1alpha1.BackupBatchKind), Namespace: namespace, Name: name}]
	if o == nil {
		return nil
	}
	var batch v1alpha1.BackupBatch
	if !c.read(o, v1alpha1.BackupBatchKind, &batch) {
		return nil
	}
	return &batch
}
