package retention

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/source"
)

// findApart returns the PolicySyncs of one branch, tag or commit of which one may not have applied what another one has
// changed, by name, or nil. One commit can change what several of them apply, and a part of it can let Snapshots go
// that the whole keeps. policy are the objects that the PolicySyncs apply, as the API server has them, and now is its
// time. A PolicySync that is being deleted applies nothing any more.
func findApart(syncs []*v1alpha1.PolicySync, policy []client.Object, now time.Time) []*v1alpha1.PolicySync {
	syncs = byName(syncs...)
	together := map[string][]*v1alpha1.PolicySync{}
	for _, sync := range syncs {
		if sync.DeletionTimestamp.IsZero() {
			together[followed(sync)] = append(together[followed(sync)], sync)
		}
	}
	for _, sync := range syncs {
		group := together[followed(sync)]
		if slices.ContainsFunc(group, func(other *v1alpha1.PolicySync) bool {
			return sync != other && sync.DeletionTimestamp.IsZero() &&
				!hasSeen(other, sync, lastChange(appliedBy(sync, policy), now), now)
		}) {
			return group
		}
	}
	return nil
}

// findBehind returns a PolicySync that applies the policy in force, and another one of its branch whose last change it
// may not have applied yet, sorted by name, or nil. That change can be why this policy is in force now, also if the
// other PolicySync applies none of it any more. since is when the policy came into force. A change more than
// causeWindow before that is not why.
func findBehind(
	syncs []*v1alpha1.PolicySync, all []v1alpha1.PolicySync, policy []client.Object, since, now time.Time,
) []*v1alpha1.PolicySync {
	for _, sync := range syncs {
		for i := range all {
			other := &all[i]
			if !sync.DeletionTimestamp.IsZero() || !other.DeletionTimestamp.IsZero() ||
				client.ObjectKeyFromObject(other) == client.ObjectKeyFromObject(sync) ||
				other.Status.LastChangedRevision == "" || followed(other) != followed(sync) {
				continue
			}
			if at := other.Status.LastChangedTime; at != nil && since.Sub(at.Time) > causeWindow {
				continue
			}
			last := lastChange(appliedBy(other, policy), now)
			if last.Before(since) {
				last = since
			}
			if !hasSeen(sync, other, last, now) {
				return byName(sync, other)
			}
		}
	}
	return nil
}

// hasSeen reports whether a PolicySync has applied the revision with which another one last changed policy, or a later
// one. One that looked at Git later has found that revision or a later one, and what changed only before it looked
// is in what it has applied. last is when the policy in question that the other one applies last changed. An earlier
// version did not say with which revision: then that time alone tells, unless both have applied the same. It also tells
// alone where a status that somebody edited, or that was restored in part, has the revision without its time.
func hasSeen(sync, other *v1alpha1.PolicySync, last, now time.Time) bool {
	applied, changed := &sync.Status, &other.Status
	found := applied.LastAppliedTime
	if changed.LastChangedRevision == "" {
		same := applied.LastAppliedRevision == changed.LastAppliedRevision && !tries(sync) && !tries(other)
		if same || found == nil && changed.LastAppliedTime == nil { // a version before that said nothing at all
			return true
		}
	} else if changed.LastChangedRevision == applied.LastAppliedRevision {
		return true
	} else if at := changed.LastChangedTime; applied.LastAppliedRevision == changed.LastAppliedRevision &&
		at != nil && changed.LastAppliedTime != nil && !at.After(changed.LastAppliedTime.Time) {
		return true // what changed was in what both have applied
	}
	if found == nil || v1alpha1.Ahead(found.Time, now) { // a clock that is right now says nothing of that time
		return false
	}
	if since := changed.LastChangedTime; since != nil && found.After(since.Time) {
		return true
	}
	// The API server's clock, and the one that found the revision, can differ.
	return found.Sub(last) > v1alpha1.ClockTolerance
}

// tries reports whether a PolicySync has tried a revision that it has not applied.
func tries(sync *v1alpha1.PolicySync) bool {
	return sync.Status.LastAttemptedRevision != sync.Status.LastAppliedRevision
}

// appliedBy returns what of policy a PolicySync applies.
func appliedBy(sync *v1alpha1.PolicySync, policy []client.Object) []client.Object {
	return slices.DeleteFunc(slices.Clone(policy), func(o client.Object) bool {
		return syncOf(o) != client.ObjectKeyFromObject(sync)
	})
}

// byName returns PolicySyncs in the order of their names.
func byName(syncs ...*v1alpha1.PolicySync) []*v1alpha1.PolicySync {
	return slices.SortedFunc(slices.Values(syncs), func(a, b *v1alpha1.PolicySync) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
}

// syncOf returns the name of the PolicySync that applies an object. It is empty if none does.
func syncOf(o client.Object) client.ObjectKey {
	return client.ObjectKey{
		Namespace: o.GetLabels()[v1alpha1.LabelSyncNamespace], Name: o.GetLabels()[v1alpha1.LabelSyncName],
	}
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
		" has applied the revision with which the others last changed policy, or a later one" + why
}
