package check

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/policy"
)

// hooks checks that the HookTemplates exist and are allowed, and fills them in as a run would.
func (c *checker) hooks(o *Object, hooks []policy.Hook, builtin hook.Builtin) {
	for _, h := range hooks {
		if h.HookTemplate == nil {
			continue // The schema refuses it.
		}
		namespace := c.referenceOf(o).Namespace
		field := h.Field + ".hookTemplate"
		reference := Reference{
			GroupKind: ours(v1alpha1.HookTemplateKind),
			Namespace: orDefault(h.HookTemplate.Namespace, namespace), Name: h.HookTemplate.Name,
		}
		found := c.find(o, field, v1alpha1.ReasonHookTemplateNotFound, reference)
		if found == nil {
			continue
		}
		var template v1alpha1.HookTemplate
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(),
			&template); err != nil || template.Spec.Executor == nil {
			continue // The mistake is reported at the HookTemplate in the set, or the cluster has checked it.
		}
		c.usage(o, field, reference, template.Spec.UsagePolicy, v1alpha1.ReasonHookTemplateNotAllowed)
		c.addAll(o, HookMistakes(h, &template, c.hookFunction(o, field, &template), builtin))
		c.variables(o, h, namespace)
	}
}

// hookFunction looks for the Function that a HookTemplate runs.
func (c *checker) hookFunction(o *Object, field string, template *v1alpha1.HookTemplate) *v1alpha1.Function {
	executor := template.Spec.Executor
	if executor.Type != v1alpha1.HookExecutorFunction || executor.Function == nil {
		return nil
	}
	var f v1alpha1.Function
	if !c.findInto(o, field, v1alpha1.ReasonFunctionNotFound, Reference{
		GroupKind: ours(v1alpha1.FunctionKind),
		Name:      executor.Function.Name,
	}, &f) {
		return nil
	}
	return &f
}

// variables looks for the Secrets and ConfigMaps of a hook's variables.
func (c *checker) variables(o *Object, h policy.Hook, namespace string) {
	for i, v := range h.Variables {
		field := fmt.Sprintf("%s.variables[%d].valueFrom", h.Field, i)
		if v.ValueFrom == nil {
			continue
		}
		if ref := v.ValueFrom.SecretKeyRef; ref != nil {
			c.find(o, field+".secretKeyRef", v1alpha1.ReasonSecretNotFound,
				Reference{GroupKind: schema.GroupKind{Kind: "Secret"}, Namespace: namespace, Name: ref.Name})
		}
		if ref := v.ValueFrom.ConfigMapKeyRef; ref != nil {
			c.find(o, field+".configMapKeyRef", v1alpha1.ReasonInvalidHook,
				Reference{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: namespace, Name: ref.Name})
		}
	}
}

// usage checks, as far as the set shows it, that o's namespace is allowed to use an object.
func (c *checker) usage(o *Object, field string, reference Reference, usage *v1alpha1.UsagePolicy, reason string) {
	user := c.referenceOf(o).Namespace
	if reference.Namespace == user {
		return
	}
	labels, known := c.namespaceLabels(user)
	bySelector := usage != nil && usage.AllowedNamespaces.From != nil &&
		*usage.AllowedNamespaces.From == v1alpha1.NamespacesFromSelector
	switch {
	case bySelector && !known:
		c.add(unknown, o, policy.Mistake{
			Field: field, Reason: reason,
			Message: fmt.Sprintf("%s is for namespaces with certain labels: only the cluster knows the labels of %s",
				reference, user),
		})
	case !policy.Allowed(usage, reference.Namespace, user, labels):
		c.add(SeverityError, o,
			policy.Mistake{Field: field, Reason: reason, Message: policy.NotAllowedMessage(reference.String(), user)})
	}
}
