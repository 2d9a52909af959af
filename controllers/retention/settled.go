package retention

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/retention"
)

// SettleTime is how long policy must have been unchanged before it lets Snapshots go. A change can consist of several
// objects, such as a RetentionPolicy that now keeps more and the configurations that move to it. Whoever applies them
// writes one after the other, and a part of them alone can let Snapshots go that all of them keep.
const SettleTime = 2 * time.Minute

// unsettled is why policy must not let any Snapshot go yet, and after what time to look again.
type unsettled struct {
	message string
	again   time.Duration
}

// findUnsettled looks for policy of which only a part may have changed so far. policy are objects as the API server has
// them, now is its time. The cache can be late with a PolicySync, but only for a much shorter time than SettleTime.
func (r *Reconciler) findUnsettled(
	ctx context.Context, policy []client.Object, now time.Time,
) (*unsettled, error) {
	for _, o := range policy {
		if !o.GetDeletionTimestamp().IsZero() { // until it is gone, nobody can change it to what Git says
			return &unsettled{
				"nothing is removed while " + o.GetName() + ", which decides, is being deleted",
				partInterval,
			}, nil
		}
		inForce, sync, err := read.Policy(ctx, r.Client, o.GetLabels())
		if err != nil {
			return nil, err
		}
		if sync != nil && sync.Status.ApplyingRevision != "" {
			return &unsettled{
				"nothing is removed until " + inForce.Source + " has applied all of revision " +
					sync.Status.ApplyingRevision, partInterval,
			}, nil
		}
	}
	if r.SettleTime == 0 {
		return nil, nil
	}
	for _, o := range policy {
		changed := retention.ChangedAt(o)
		left := changed.Add(r.SettleTime).Sub(now)
		if left > 0 && !v1alpha1.Ahead(changed, now) { // else a clock was wrong, and the time says nothing
			return &unsettled{
				"nothing is removed until policy has been unchanged for " + r.SettleTime.String() +
					": what has changed can be a part of a larger change", left,
			}, nil
		}
	}
	return nil, nil
}
