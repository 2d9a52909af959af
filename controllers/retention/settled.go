package retention

import (
	"context"
	"fmt"
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
			kind, err := r.GroupVersionKindFor(o)
			if err != nil {
				return nil, fmt.Errorf("find the kind of %s: %w", o.GetName(), err)
			}
			return &unsettled{
				"nothing is removed while " + kind.Kind + "/" + o.GetName() + ", which decides, is being deleted",
				partInterval,
			}, nil
		}
	}
	syncs, is, err := r.findPart(ctx, policy)
	if err != nil || is != nil {
		return is, err
	}
	if apart := findApart(syncs, policy, now); len(apart) > 0 {
		return &unsettled{apartMessage(apart), apartInterval}, nil
	}
	if left := lastChange(policy, now).Add(r.SettleTime).Sub(now); r.SettleTime > 0 && left > 0 {
		return r.settling(left), nil
	}
	return nil, nil
}

// settling says that policy has just changed.
func (r *Reconciler) settling(left time.Duration) *unsettled {
	return &unsettled{
		"nothing is removed until policy has been unchanged for " + r.SettleTime.String() +
			": what has changed can be a part of a larger change", left,
	}
}

// lastChange returns when policy changed last. What a wrong clock has written in the future does not count.
func lastChange(policy []client.Object, now time.Time) (last time.Time) {
	for _, o := range policy {
		if changed := retention.ChangedAt(o); changed.After(last) && !v1alpha1.Ahead(changed, now) {
			last = changed
		}
	}
	return last
}

// findPart returns the PolicySyncs that apply policy, and looks for one that has applied only a part of a revision. It
// reads the cache alone.
func (r *Reconciler) findPart(
	ctx context.Context, policy []client.Object,
) (syncs []*v1alpha1.PolicySync, is *unsettled, err error) {
	seen := map[client.ObjectKey]bool{}
	for _, o := range policy {
		if seen[syncOf(o)] {
			continue
		}
		seen[syncOf(o)] = true
		inForce, sync, err := read.Policy(ctx, r.Client, o.GetLabels())
		if err != nil {
			return nil, nil, err
		}
		if sync == nil {
			continue
		}
		if sync.Status.ApplyingRevision != "" {
			return nil, &unsettled{
				"nothing is removed until " + inForce.Source + " has applied all of revision " +
					sync.Status.ApplyingRevision, partInterval,
			}, nil
		}
		syncs = append(syncs, sync)
	}
	return syncs, nil, nil
}
