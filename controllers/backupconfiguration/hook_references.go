package backupconfiguration

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
)

// checkHooks checks for each hook that its HookTemplate exists, that the configuration is allowed to use it, and that
// all its variables have values.
func (r *Reconciler) checkHooks(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings,
) error {
	for i := range configuration.Spec.Sessions {
		session := &configuration.Spec.Sessions[i]
		builtin := policy.BackupHookValues(configuration.Namespace, v1alpha1.BackupConfigurationKind,
			configuration.Name,
			session.Name, configuration.Spec.Target)
		hooks := policy.BackupHooks(fmt.Sprintf("spec.sessions[%d]", i), session.Hooks)
		if err := r.noteHooks(ctx, configuration.Namespace, hooks, findings); err != nil {
			return err
		}
		mistakes, err := read.HookMistakes(ctx, r.Client, configuration.Namespace, hooks, builtin)
		if err != nil {
			return err
		}
		for _, m := range mistakes {
			if hook.MayCome(m.Reason) {
				findings.notReady(m.Reason, m.Field+": "+m.Message)
			} else {
				findings.invalid(m.Reason, m.Field+": "+m.Message)
			}
		}
	}
	return nil
}

// hookTemplates returns the keys "<namespace>/<name>" of the HookTemplates that a configuration names.
func hookTemplates(c *v1alpha1.BackupConfiguration) []string {
	var keys []string
	for i := range c.Spec.Sessions {
		for _, h := range policy.BackupHooks("", c.Spec.Sessions[i].Hooks) {
			if h.HookTemplate != nil {
				keys = append(keys, h.HookTemplate.In(c.Namespace).String())
			}
		}
	}
	return unique(keys)
}

func (r *Reconciler) ofHookTemplate(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.MatchingFields{indexHookTemplate: o.GetNamespace() + "/" + o.GetName()})
}

// ofHookFunction returns a request for each configuration whose HookTemplates run the Function.
func (r *Reconciler) ofHookFunction(ctx context.Context, o client.Object) []reconcile.Request {
	return read.RequestsOfFunction(ctx, r.Client, o, r.ofHookTemplate)
}
