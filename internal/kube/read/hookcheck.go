package read

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// HookMistakes checks for each hook of a policy in namespace whether its HookTemplate and Function exist, are allowed
// and can be filled in.
func HookMistakes(
	ctx context.Context, c client.Reader, namespace string, hooks []policy.Hook, builtin hook.Builtin,
) ([]policy.Mistake, error) {
	var out []policy.Mistake
	for _, h := range hooks {
		template, refusal, err := HookTemplate(ctx, c, namespace, *h.HookTemplate)
		var function *v1alpha1.Function
		if refusal == nil && err == nil {
			function, refusal, err = HookFunction(ctx, c, template)
		}
		switch {
		case err != nil:
			return nil, err
		case refusal != nil:
			out = append(out, policy.Mistake{
				Field: h.Field + ".hookTemplate", Reason: refusal.Reason, Message: refusal.Message,
			})
		default:
			out = append(out, check.HookMistakes(h, template, function, builtin)...)
		}
	}
	return out, nil
}

// templatesOf lists the HookTemplates that run a Function.
func templatesOf(ctx context.Context, c client.Reader, function string) ([]v1alpha1.HookTemplate, error) {
	var templates v1alpha1.HookTemplateList
	if err := c.List(ctx, &templates); err != nil {
		return nil, fmt.Errorf("list HookTemplates: %w", err)
	}
	var out []v1alpha1.HookTemplate
	for _, t := range templates.Items {
		if executor := t.Spec.Executor; executor.Function != nil && executor.Function.Name == function {
			out = append(out, t)
		}
	}
	return out, nil
}

// RequestsOfFunction returns the requests that a changed Function causes: those of ofTemplate for each HookTemplate
// that runs it.
func RequestsOfFunction(
	ctx context.Context, c client.Reader, function client.Object, ofTemplate handler.MapFunc,
) []reconcile.Request {
	templates, err := templatesOf(ctx, c, function.GetName())
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "find HookTemplates of a changed Function")
		return nil
	}
	var requests []reconcile.Request
	for i := range templates {
		requests = append(requests, ofTemplate(ctx, &templates[i])...)
	}
	return requests
}
