package restoresession

import (
	"context"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
)

// resolveHooks resolves the hooks of a restore.
func (r *Reconciler) resolveHooks(ctx context.Context, look *search) error {
	s := look.session
	if s.Spec.Hooks == nil {
		return nil
	}
	hooks, refusal, err := lifecycle.Hooks(ctx, lifecycle.Sure{Reader: r.Client, Live: r.APIReader}, s.Namespace,
		s.Spec.Hooks.PreRestore, s.Spec.Hooks.PostRestore,
		policy.RestoreHookValues(s, s.Namespace), r.MoverImage)
	if hooks != nil && s.Spec.Target != nil {
		hooks.Targets = []v1alpha1.TypedObjectReference{*s.Spec.Target}
	}
	look.Resolved.Hooks, look.Error = hooks, refusal
	if refusal != nil && lifecycle.MayCome(refusal.Reason) {
		look.Wait = session.WaitForChild
	}
	return err
}
