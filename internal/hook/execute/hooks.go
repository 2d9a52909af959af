package execute

import (
	"context"
	"errors"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/session"
)

// Hooks makes the attempts that sessions decide upon.
type Hooks struct {
	*Runner
	*Executor
}

// CarryOut makes the attempts, or the Jobs of those with a Function, that are not known, and stops those of stop. Before it makes
// one, newest says whether the owner is what it was decided for: an error keeps it from being made.
func (h *Hooks) CarryOut(ctx context.Context, owner client.Object, runs []session.HookRun, stop []session.HookAttempt, newest func(context.Context, client.Object) error) error {
	for _, attempt := range stop {
		h.Stop(owner.GetUID(), attempt)
	}
	runs = slices.DeleteFunc(slices.Clone(runs), func(run session.HookRun) bool { return h.Known(owner.GetUID(), run.HookAttempt) })
	if len(runs) == 0 {
		return nil
	}
	if err := newest(ctx, owner); err != nil {
		return err
	}
	var errs []error
	for i := range runs {
		errs = append(errs, h.begin(ctx, owner, &runs[i]))
	}
	return errors.Join(errs...)
}

// begin makes one attempt.
func (h *Hooks) begin(ctx context.Context, owner client.Object, run *session.HookRun) error {
	if run.Hook.Function != nil {
		return h.makeJob(ctx, owner, run)
	}
	namespace, made := owner.GetNamespace(), *run
	h.Ensure(owner, run.HookAttempt, run.Hook.Timeout.Duration, func(ctx context.Context) session.HookOutcome {
		return h.Execute(ctx, namespace, made)
	})
	return nil
}
