package execute

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/session"
)

// Hooks makes the attempts that sessions decide upon.
type Hooks struct {
	*Runner
	*Executor
}

// CarryOut makes an attempt, or the Job of one with a Function, unless it is known, and stops all of the owner where stop says
// so. Before it makes one, newest says whether the owner is what it was decided for: an error keeps it from being made.
func (h *Hooks) CarryOut(ctx context.Context, owner client.Object, run *session.HookRun, stop bool, newest func(context.Context, client.Object) error) error {
	if stop {
		h.Stop(owner.GetUID())
	}
	if run == nil || h.Known(owner.GetUID(), run.HookAttempt) {
		return nil
	}
	if err := newest(ctx, owner); err != nil {
		return err
	}
	if run.Hook.Function != nil {
		return h.makeJob(ctx, owner, run)
	}
	namespace, made := owner.GetNamespace(), *run
	h.Ensure(owner, run.HookAttempt, run.Hook.Timeout.Duration, func(ctx context.Context) session.HookOutcome {
		return h.Execute(ctx, namespace, made)
	})
	return nil
}
