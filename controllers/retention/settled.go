package retention

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/source"
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
	changed := lastChange(policy, now)
	if apart := findApart(syncs, changed); len(apart) > 0 {
		return &unsettled{apartMessage(apart), apartInterval}, nil
	}
	if left := changed.Add(r.SettleTime).Sub(now); r.SettleTime > 0 && left > 0 {
		return &unsettled{
			"nothing is removed until policy has been unchanged for " + r.SettleTime.String() +
				": what has changed can be a part of a larger change", left,
		}, nil
	}
	return nil, nil
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
	seen := map[string]bool{}
	for _, o := range policy {
		from := client.ObjectKey{
			Namespace: o.GetLabels()[v1alpha1.LabelSyncNamespace], Name: o.GetLabels()[v1alpha1.LabelSyncName],
		}.String()
		if seen[from] {
			continue
		}
		seen[from] = true
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

// findApart returns the PolicySyncs of one branch, tag or commit that can stand at different commits, by name, or nil.
// They have not all applied the same revision, or one has tried another and can have written a part of it; and one
// found its revision before policy changed. One commit can change what several of them apply, and a part of it can let
// Snapshots go that the whole keeps. In a busy branch they seldom have the same revision, but all that looked after the
// change have the change. One that is being deleted applies nothing any more.
func findApart(syncs []*v1alpha1.PolicySync, changed time.Time) []*v1alpha1.PolicySync {
	syncs = slices.SortedFunc(slices.Values(syncs), func(a, b *v1alpha1.PolicySync) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	together := map[string][]*v1alpha1.PolicySync{}
	for _, sync := range syncs {
		if sync.DeletionTimestamp.IsZero() {
			together[followed(sync)] = append(together[followed(sync)], sync)
		}
	}
	for _, sync := range syncs {
		group := together[followed(sync)]
		differ := slices.ContainsFunc(group, func(other *v1alpha1.PolicySync) bool {
			return tries(other) || other.Status.LastAppliedRevision != group[0].Status.LastAppliedRevision
		})
		if len(group) > 1 && differ && slices.ContainsFunc(group, func(other *v1alpha1.PolicySync) bool {
			found := other.Status.LastAppliedTime // by the manager's clock, which can be ahead of the API server's
			return found == nil || found.Sub(changed) <= v1alpha1.ClockTolerance
		}) {
			return group
		}
	}
	return nil
}

// followed identifies what a PolicySync follows.
func followed(sync *v1alpha1.PolicySync) string {
	url, err := gitstore.NormalizeURL(sync.Spec.URL)
	if err != nil {
		url = sync.Spec.URL
	}
	var ref source.Ref
	if sync.Spec.Ref != nil {
		ref = source.Ref(*sync.Spec.Ref)
	}
	return ref.Followed() + " of " + url
}

// tries reports whether a PolicySync has tried a revision that it has not applied.
func tries(sync *v1alpha1.PolicySync) bool {
	return sync.Status.LastAttemptedRevision != sync.Status.LastAppliedRevision
}

// apartMessage says what PolicySyncs that are apart wait for.
func apartMessage(apart []*v1alpha1.PolicySync) string {
	var names []string
	why := ""
	for _, sync := range apart {
		name := v1alpha1.PolicySyncKind + "/" + sync.Namespace + "/" + sync.Name
		names = append(names, name)
		switch {
		case sync.Spec.Suspend:
			why += "; " + name + " is suspended"
		case tries(sync):
			why += "; " + name + " has not applied the revision that it tried last: its condition Ready says why"
		}
	}
	return "nothing is removed until each of " + strings.Join(names, " and ") +
		" has applied a revision that it found after the policy of this Repository changed" + why
}
