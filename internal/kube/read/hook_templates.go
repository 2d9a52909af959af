package read

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/kube/access"
)

// Hooks resolves the hooks of a session in namespace. It returns nil if there are none. moverImage is the value of
// ${moverImage} in a Function.
func Hooks(
	ctx context.Context, c client.Reader, namespace string, pre, post []v1alpha1.HookInfo, builtin hook.Builtin,
	moverImage string,
) (*v1alpha1.ResolvedHooks, *v1alpha1.ResolvedError, error) {
	if len(pre)+len(post) == 0 {
		return nil, nil, nil
	}
	out := &v1alpha1.ResolvedHooks{}
	for _, stage := range []struct {
		infos []v1alpha1.HookInfo
		into  *[]v1alpha1.ResolvedHook
	}{{pre, &out.Pre}, {post, &out.Post}} {
		for i := range stage.infos {
			resolved, refusal, err := resolveHook(ctx, c, namespace, &stage.infos[i], builtin, moverImage)
			if refusal != nil || err != nil {
				return nil, refusal, err
			}
			*stage.into = append(*stage.into, resolved)
		}
	}
	return out, nil, nil
}

func resolveHook(
	ctx context.Context, c client.Reader, namespace string, info *v1alpha1.HookInfo, builtin hook.Builtin,
	moverImage string,
) (v1alpha1.ResolvedHook, *v1alpha1.ResolvedError, error) {
	template, refusal, err := HookTemplate(ctx, c, namespace, *info.HookTemplate)
	of := hook.Container{MoverImage: moverImage}
	if refusal == nil && err == nil {
		of.Function, refusal, err = HookFunction(ctx, c, template)
	}
	if refusal != nil || err != nil {
		if refusal != nil {
			refusal.Message = fmt.Sprintf("hook %s: %s", info.Name, refusal.Message)
		}
		return v1alpha1.ResolvedHook{}, refusal, err
	}
	resolved, mistakes := hook.Resolve(info, template, builtin, of)
	if len(mistakes) == 0 {
		return resolved, nil, nil
	}
	var says []string
	for _, m := range mistakes {
		says = append(says, m.Field+": "+m.Message)
	}
	return resolved, &v1alpha1.ResolvedError{
		Reason: v1alpha1.ReasonInvalidHook, Message: fmt.Sprintf("hook %s: %s", info.Name, strings.Join(says, "; ")),
	}, nil
}

// HookTemplate reads a HookTemplate that is used from a namespace. It refuses a template that does not exist or whose
// usagePolicy does not allow the namespace.
func HookTemplate(
	ctx context.Context, c client.Reader, namespace string, ref v1alpha1.ObjectReference,
) (*v1alpha1.HookTemplate, *v1alpha1.ResolvedError, error) {
	key := ref.In(namespace)
	template := &v1alpha1.HookTemplate{}
	if err := Get(ctx, c, key, template); apierrors.IsNotFound(err) {
		return nil, &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonHookTemplateNotFound,
			Message: fmt.Sprintf("there is no HookTemplate %s", key),
		}, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("get HookTemplate %s: %w", key, err)
	}
	err := access.MayUse(ctx, c, v1alpha1.HookTemplateKind, template, template.Spec.UsagePolicy, namespace,
		v1alpha1.ReasonHookTemplateNotAllowed)
	if reason, message, ok := access.ReasonOf(err); ok {
		return nil, &v1alpha1.ResolvedError{Reason: reason, Message: message}, nil
	}
	return template, nil, err
}

// HookFunction reads the Function that a HookTemplate runs, or returns nil if it runs none. It refuses a Function that
// does not exist.
func HookFunction(
	ctx context.Context, c client.Reader, template *v1alpha1.HookTemplate,
) (*v1alpha1.Function, *v1alpha1.ResolvedError, error) {
	executor := template.Spec.Executor
	if executor.Type != v1alpha1.HookExecutorFunction {
		return nil, nil, nil
	}
	f := &v1alpha1.Function{}
	if err := Get(ctx, c, client.ObjectKey{Name: executor.Function.Name}, f); apierrors.IsNotFound(err) {
		return nil, &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonFunctionNotFound, Message: fmt.Sprintf(
			"there is no Function %q, which HookTemplate %q names", executor.Function.Name, template.Name)}, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("get Function %s: %w", executor.Function.Name, err)
	}
	return f, nil, nil
}
