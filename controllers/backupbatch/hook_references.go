package backupbatch

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
)

// checkHooks checks the hooks of all sessions. It returns what is wrong with them, and what they name that does not
// exist yet.
func (r *Reconciler) checkHooks(
	ctx context.Context, batch *v1alpha1.BackupBatch,
) (wrong, missing []policy.Mistake, err error) {
	for i := range batch.Spec.Sessions {
		hooks, builtin := policy.BatchHooks(batch, i)
		mistakes, err := read.HookMistakes(ctx, r.Client, batch.Namespace, hooks, builtin)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range mistakes {
			if hook.MayCome(m.Reason) {
				missing = append(missing, m)
			} else {
				wrong = append(wrong, m)
			}
		}
	}
	return wrong, missing, nil
}

// hookTemplates returns the keys "<namespace>/<name>" of the HookTemplates that a batch names.
func hookTemplates(batch *v1alpha1.BackupBatch) []string {
	var keys []string
	for i := range batch.Spec.Sessions {
		for _, h := range policy.BackupHooks("", batch.Spec.Sessions[i].Hooks) {
			if h.HookTemplate != nil {
				keys = append(keys, h.HookTemplate.In(batch.Namespace).String())
			}
		}
	}
	return keys
}

// ofHookTemplate returns a request for each batch that names the HookTemplate.
func (r *Reconciler) ofHookTemplate(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.MatchingFields{indexHookTemplate: o.GetNamespace() + "/" + o.GetName()})
}

// ofFunction returns a request for each batch whose HookTemplates run the Function.
func (r *Reconciler) ofFunction(ctx context.Context, o client.Object) []reconcile.Request {
	return read.RequestsOfFunction(ctx, r.Client, o, r.ofHookTemplate)
}

// ofNamespace returns a request for each batch of the Namespace: the usagePolicy of a HookTemplate can judge it by the
// Namespace's labels.
func (r *Reconciler) ofNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(o.GetName()))
}

func (r *Reconciler) requests(ctx context.Context, which ...client.ListOption) []reconcile.Request {
	var list v1alpha1.BackupBatchList
	if err := r.List(ctx, &list, which...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list BackupBatches")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}
