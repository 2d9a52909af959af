package status

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

// conflicts limits how often a write is tried again after another writer was faster. The first retry comes soon,
// because most conflicts are over at once; the last ones leave a stale cache the time to catch up.
var conflicts = wait.Backoff{Steps: 5, Duration: 10 * time.Millisecond, Factor: 3, Jitter: 0.5}

// RetryConflict calls write until it returns anything but a conflict, at most five times, and returns its last error.
// write must read the object again. The end of the context ends the wait.
func RetryConflict(ctx context.Context, write func() error) error {
	var last error
	if err := wait.ExponentialBackoffWithContext(ctx, conflicts, func(context.Context) (bool, error) {
		last = write()
		return !apierrors.IsConflict(last), nil
	}); last == nil {
		return err
	}
	return last
}
