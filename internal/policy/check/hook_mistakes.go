package check

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/policy"
)

// HookMistakes checks the HookTemplate, its Function, and the hook's settings for them. A nil function is not checked.
func HookMistakes(
	h policy.Hook, template *v1alpha1.HookTemplate, function *v1alpha1.Function, builtin hook.Builtin,
) []policy.Mistake {
	var out []policy.Mistake
	_, mistakes := hook.Resolve(h.HookInfo, template, builtin,
		hook.Container{Function: function, MoverImage: catalog.LaterKnown(nil).MoverImage})
	for _, m := range mistakes {
		out = append(out, policy.Mistake{
			Field: h.Field + "." + m.Field, Reason: v1alpha1.ReasonInvalidHook,
			Message: m.Message,
		})
	}
	return out
}
