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
		if slices.ContainsFunc(group, func(other *v1alpha1.PolicySync) bool {
			return sync != other && sync.DeletionTimestamp.IsZero() && !hasSeen(other, sync, policy, now)
		}) {
			return group
		}
	}
	return nil
}

// hasSeen reports whether a PolicySync has applied the revision with which another one last changed policy, or a later
// one. One that looked at Git later has found that revision or a later one, and what changed only before it looked
// is in what it has applied. An earlier version did not say what it changed, and did not wait either.
func hasSeen(sync, other *v1alpha1.PolicySync, policy []client.Object, now time.Time) bool {
	applied, changed := &sync.Status, &other.Status
	if changed.LastChangedRevision == "" || changed.LastChangedRevision == applied.LastAppliedRevision {
		return true
	}
	if applied.LastAppliedRevision == changed.LastAppliedRevision && changed.LastAppliedTime != nil &&
		!changed.LastChangedTime.After(changed.LastAppliedTime.Time) { // what changed was in what both have applied
		return true
	}
	found := applied.LastAppliedTime
	if found == nil || v1alpha1.Ahead(found.Time, now) { // a clock that is right now says nothing of that time
		return false
	}
	if since := changed.LastChangedTime; since != nil && found.After(since.Time) {
		return true
	}
	theirs := slices.DeleteFunc(slices.Clone(policy), func(o client.Object) bool {
		return syncOf(o) != client.ObjectKeyFromObject(other)
	})
	// The API server's clock, and the one that found the revision, can differ.
	return found.Sub(lastChange(theirs, now)) > v1alpha1.ClockTolerance
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
		case sync.Status.LastAttemptedRevision != sync.Status.LastAppliedRevision:
			why += "; " + name + " has not applied the revision that it tried last: its condition Ready says why"
		}
	}
	return "nothing is removed until each of " + strings.Join(names, " and ") +
		" has applied the revision with which the others last changed policy, or a later one" + why
}
