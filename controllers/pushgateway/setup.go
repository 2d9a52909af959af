package pushgateway

import (
	"context"
	"fmt"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// SetupWithManager registers one controller for BackupSessions and one for RestoreSessions. Each pushes one after the other:
// a gateway that does not answer holds up its own pushes alone.
func (p *Pusher) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	opts.MaxConcurrentReconciles = 1
	for _, c := range []struct {
		name   string
		object client.Object
		do     reconcile.Func
	}{
		{"pushgateway-backupsession", &v1alpha1.BackupSession{}, p.backup},
		{"pushgateway-restoresession", &v1alpha1.RestoreSession{}, p.restore},
	} {
		err := ctrl.NewControllerManagedBy(mgr).
			Named(c.name).
			For(c.object, builder.WithPredicates(ends)).
			Watches(c.object, handler.Funcs{DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				p.forget(e.Object)
			}}).
			WithOptions(opts).
			Complete(c.do)
		if err != nil {
			return fmt.Errorf("start the controller %s: %w", c.name, err)
		}
	}
	return nil
}

// ends lets through what has just ended, and all that had when the manager was started. What is written to it later is no
// reason to try again what failed before its time.
var ends = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return ended(e.Object) },
	UpdateFunc: func(e event.UpdateEvent) bool { return ended(e.ObjectNew) && !ended(e.ObjectOld) },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}
