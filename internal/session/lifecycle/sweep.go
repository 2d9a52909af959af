package lifecycle

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// SweepInterval is how often is looked for what was left behind.
const SweepInterval = time.Hour

// sweepJitter spreads that.
const sweepJitter = 0.2

// AddSweep has the manager that leads look for what was left behind: when it starts, and then each time that every has passed. Sessions
// remove by themselves what they made; this is for what came between. what says in the log what went wrong.
func AddSweep(mgr ctrl.Manager, what string, every time.Duration, look func(context.Context) error) error {
	run := func(ctx context.Context) error {
		wait.JitterUntilWithContext(ctx, func(ctx context.Context) {
			if err := look(ctx); err != nil && ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).Error(err, what)
			}
		}, every, sweepJitter, true)
		return nil
	}
	if err := mgr.Add(manager.RunnableFunc(run)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
