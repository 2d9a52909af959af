package backupconfiguration

import (
	"cmp"
	"context"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
)

// depends records whether a cluster-wide object of ours exists.
func (f *findings) depends(kind, name string, found bool) {
	f.dependencies.Add(v1alpha1.TypedObjectReference{APIGroup: v1alpha1.Group, Kind: kind, Name: name}, found)
}

// noteHooks records whether the HookTemplates that the hooks name exist, and the Functions that those HookTemplates
// run.
func (r *Reconciler) noteHooks(ctx context.Context, namespace string, hooks []policy.Hook, findings *findings) error {
	for _, h := range hooks {
		template, refusal, err := read.HookTemplate(ctx, r.Client, namespace, *h.HookTemplate)
		if err != nil {
			return err
		}
		findings.dependencies.Add(v1alpha1.TypedObjectReference{
			APIGroup: v1alpha1.Group, Kind: v1alpha1.HookTemplateKind,
			Namespace: cmp.Or(h.HookTemplate.Namespace, namespace),
			Name:      h.HookTemplate.Name,
		}, refusal == nil || refusal.Reason != v1alpha1.ReasonHookTemplateNotFound)
		if refusal != nil || template.Spec.Executor == nil ||
			template.Spec.Executor.Type != v1alpha1.HookExecutorFunction {
			continue
		}
		function, _, err := read.HookFunction(ctx, r.Client, template)
		if err != nil {
			return err
		}
		findings.depends(v1alpha1.FunctionKind, template.Spec.Executor.Function.Name, function != nil)
	}
	return nil
}
