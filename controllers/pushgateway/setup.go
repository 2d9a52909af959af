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
	"github.com/cairn-backup/cairn/internal/kube/logs"
)

// SetupWithManager registers one controller for BackupSessions and one for RestoreSessions. Each pushes one run at a
// time: a gateway that does not answer delays only its own pushes.
func (p *Pusher) SetupWithManager(mgr ctrl.Manager, opts controller.Options) error {
	opts.MaxConcurrentReconciles = 1
	for _, c := range []struct {
		name   string
		kind   string
		object client.Object
		do     reconcile.Func
	}{
		{"pushgateway-backupsession", v1alpha1.BackupSessionKind, &v1alpha1.BackupSession{}, p.backup},
		{"pushgateway-restoresession", v1alpha1.RestoreSessionKind, &v1alpha1.RestoreSession{}, p.restore},
	} {
		opts.LogConstructor = logs.Constructor(mgr.GetLogger(), c.name, c.kind)
		err := ctrl.NewControllerManagedBy(mgr).
			Named(c.name).
			For(c.object, builder.WithPredicates(ends)).
			Watches(c.object, handler.Funcs{DeleteFunc: func(
				_ context.Context, e event.DeleteEvent, _ workqueue.TypedRateLimitingInterface[reconcile.Request],
			) {
				p.forget(e.Object)
			}}).
			WithOptions(opts).
			Complete(c.do)
		if err != nil {
			return fmt.Errorf("start controller %s: %w", c.name, err)
		}
	}
	return nil
}

// ends lets through a run that has just ended, and every run that had ended when the manager started. A later write to
// it must not trigger another try before retryAfter.
var ends = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return ended(e.Object) },
	UpdateFunc: func(e event.UpdateEvent) bool { return ended(e.ObjectNew) && !ended(e.ObjectOld) },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}
