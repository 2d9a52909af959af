package hookexec

import (
	"context"
	"errors"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// Hooks makes the attempts that sessions decide upon.
type Hooks struct {
	*Runner
	*Executor
}

// CarryOut starts the attempts of runs that are not known, or creates their Jobs. Attempts of stop that have not begun
// never begin. An attempt that has only chosen its pod is not known any more once the run has that pod, nor is one that
// did nothing and must be made again.
// Before it starts anything, it calls newest to check that the owner has not changed since the decision. An error
// prevents the start.
func (h *Hooks) CarryOut(
	ctx context.Context, owner client.Object, runs []hookstage.Run, stop []hookstage.Attempt,
	newest func(context.Context, client.Object) error,
) error {
	for _, attempt := range stop {
		h.Stop(owner.GetUID(), attempt)
	}
	runs = slices.DeleteFunc(slices.Clone(runs), func(run hookstage.Run) bool {
		return h.known(owner.GetUID(), &run)
	})
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

// begin starts one attempt.
func (h *Hooks) begin(ctx context.Context, owner client.Object, run *hookstage.Run) error {
	if !run.Again && (run.Pod != nil || !hookstage.InOnePod(run.Hook)) { // without a pod, it only chooses one
		logf.FromContext(ctx).Info("runs hook", "hook", run.Name, "stage", run.Stage, "attempt", run.Number, "target",
			run.Target)
	}
	if run.Hook.Function != nil {
		return h.makeJob(ctx, owner, run)
	}
	namespace, made := owner.GetNamespace(), *run
	executor := h.For(owner.DeepCopyObject().(client.Object)) // the reconcile changes its own
	h.Ensure(owner, run.Attempt, run.Hook.Timeout.Duration, func(attempt context.Context) hookstage.Outcome {
		return executor.Execute(attempt, namespace, made)
	})
	return nil
}
