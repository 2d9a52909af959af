// Package sweep looks for leftovers at intervals, in the manager that leads, and deletes them.
package sweep

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// SweepInterval is how often the manager looks for objects that were left behind.
const SweepInterval = time.Hour

// sweepJitter spreads the sweeps over time.
const sweepJitter = 0.2

// AddSweep makes the leading manager call look when it starts and then at each interval of every. Sessions remove what
// they made themselves; a sweep finds what an interruption left behind. what names the sweep in the log.
func AddSweep(mgr ctrl.Manager, what string, every time.Duration, look func(context.Context) error) error {
	run := func(ctx context.Context) error {
		ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("sweep", what))
		wait.JitterUntilWithContext(ctx, func(ctx context.Context) {
			if err := look(ctx); err != nil && ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).Error(err, "sweep failed")
			}
		}, every, sweepJitter, true)
		return nil
	}
	if err := mgr.Add(manager.RunnableFunc(run)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Delete deletes exactly this object, if it still exists. Another object that has its name by now stays, with an error.
func Delete(ctx context.Context, c client.Client, o client.Object) error {
	err := c.Delete(ctx, o, client.Preconditions{UID: new(o.GetUID())})
	if client.IgnoreNotFound(err) != nil {
		kind := "object"
		if gvk, unknown := c.GroupVersionKindFor(o); unknown == nil {
			kind = gvk.Kind
		}
		return fmt.Errorf("delete %s %s: %w", kind, klog.KObj(o), err)
	}
	return nil
}
