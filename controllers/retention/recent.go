package retention

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// recentFor is for how long the Repositories of a large batch share a list of the Snapshots of their namespace.
const recentFor = 5 * time.Second

// recentLists are the last lists of the Snapshots of namespaces. The zero value is ready for use; it is safe for
// concurrent use. When a restore point leaves the policy, each Repository of its batch confirms that within the same
// minute. For 500 of them with 40 Snapshots each, a list of its own for each would be ten million objects.
//
// What a shared list weakens: a removal can miss what somebody has changed in the last five seconds, if the cache lacks
// that, too. It does not let a stale cache decide: whatever the cache lacks for longer is a conflict. A stopwatch can
// stand still while the machine does, so the time of the API server has to agree. What a Repository removes itself, it
// still removes only in the version on which it has decided, and its newest good Snapshots are read anew, so the last
// good backup never goes because of such a list: see confirmNewest. What can go is a part of a point that would have
// stayed for what has just happened to another part: somebody paused it, or a check found one of a newer point damaged.
type recentLists struct {
	mu          sync.Mutex
	byNamespace map[string]*listed
}

// listed is the metadata of Snapshots by name, as the API server had them.
type listed struct {
	// since is the stopwatch, and server the time of the API server, before they were listed.
	since  time.Duration
	server time.Time
	// snapshots must not be changed.
	snapshots map[string]metav1.PartialObjectMetadata
	// gone holds the UIDs of those that are known to be gone, or being deleted, since then. Nothing undoes that.
	gone sync.Map
}

// of returns the list of a namespace, nil if there is none that is recent.
func (l *recentLists) of(namespace string, stopwatch time.Duration, server time.Time) *listed {
	l.mu.Lock()
	defer l.mu.Unlock()
	is := l.byNamespace[namespace]
	// The API server tells its time in whole seconds.
	if is != nil && (stopwatch-is.since > recentFor || server.Sub(is.server).Abs() > recentFor+time.Second) {
		return nil
	}
	return is
}

// keep keeps a list of all Snapshots of a namespace for as long as others can share it. It can take a hundred
// megabytes.
func (l *recentLists) keep(namespace string, all *listed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byNamespace == nil {
		l.byNamespace = map[string]*listed{}
	}
	l.byNamespace[namespace] = all
	time.AfterFunc(recentFor, func() { //nolint:forbidigo // The clock decides nothing here: memory goes.
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.byNamespace[namespace] == all {
			delete(l.byNamespace, namespace)
		}
	})
}

// confirmNewest reads anew the Snapshots of the Repository that stay because they are its newest good ones: a list that
// is some seconds old does not show yet that a check has just found one of them damaged.
func (r *Reconciler) confirmNewest(ctx context.Context, s *state) error {
	for _, v := range s.verdicts {
		if !slices.ContainsFunc(v.Kept, func(k retention.Keep) bool { return k.Rule == retention.KeepNewest }) {
			continue
		}
		cached, is := s.snapshots[v.Name], &metav1.PartialObjectMetadata{}
		is.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.SnapshotKind))
		err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(cached), is)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get metadata of Snapshot %s: %w", v.Name, err)
		}
		if err != nil || !decidesTheSame(cached, is) {
			return behind(v1alpha1.SnapshotKind, v.Name)
		}
	}
	return nil
}

// isGone reports whether a Snapshot has gone, or is being deleted, since it was listed. The cache can be newer.
func (r *Reconciler) isGone(ctx context.Context, live *listed, is *metav1.PartialObjectMetadata) (bool, error) {
	if _, known := live.gone.Load(is.UID); known {
		return true, nil
	}
	var cached v1alpha1.Snapshot
	err := r.Get(ctx, client.ObjectKeyFromObject(is), &cached, client.UnsafeDisableDeepCopy)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Snapshot %s: %w", is.Name, err)
	}
	gone := err == nil && cached.UID == is.UID && !cached.DeletionTimestamp.IsZero()
	if gone {
		live.gone.Store(is.UID, true)
	}
	return gone, nil
}
