package sessiontest

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/internal/run"
)

// WithoutPolls returns a queue that never looks at a waiting run again by itself: only watches wake the run. It has the
// type of NewQueue in the options of a controller.
func WithoutPolls(
	_ string, limiter workqueue.TypedRateLimiter[reconcile.Request],
) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	return withoutPolls{workqueue.NewTypedRateLimitingQueue(limiter)}
}

type withoutPolls struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
}

func (q withoutPolls) AddAfter(r reconcile.Request, after time.Duration) {
	if after < run.PollInterval/2 {
		q.TypedRateLimitingInterface.AddAfter(r, after)
	}
}
