// Package inuse tells which Snapshots restores work with, so that nothing removes them meanwhile.
package inuse

import (
	"cmp"
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Index is the name of an index of the RestoreSessions that have not ended.
type Index string

// active is the one value of the index.
const active = "active"

// Register adds the index to a cache. Each name can be registered once.
func (i Index) Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.RestoreSession{}, string(i), func(o client.Object) []string {
		if s := o.(*v1alpha1.RestoreSession); !s.Status.Phase.Terminal() && !v1alpha1.HasRecordAnnotation(s.Annotations) {
			return []string{active}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index RestoreSessions by whether they have ended: %w", err)
	}
	return nil
}

// Snapshots are what the restores that have not ended work with, or may be about to.
type Snapshots struct {
	sessions []v1alpha1.RestoreSession
}

// Snapshots lists those restores.
func (i Index) Snapshots(ctx context.Context, c client.Reader) (Snapshots, error) {
	var list v1alpha1.RestoreSessionList
	if err := c.List(ctx, &list, client.MatchingFields{string(i): active}); err != nil {
		return Snapshots{}, fmt.Errorf("list RestoreSessions under way: %w", err)
	}
	return Snapshots{list.Items}, nil
}

// Of are the restores among these that have not ended.
func Of(sessions []v1alpha1.RestoreSession) Snapshots {
	var out Snapshots
	for _, s := range sessions {
		if !s.Status.Phase.Terminal() && !v1alpha1.HasRecordAnnotation(s.Annotations) {
			out.sessions = append(out.sessions, s)
		}
	}
	return out
}

// By names the restore that works with the Snapshot; it is empty where none does. A restore that has not said yet which
// Snapshot it takes may take any of its repository.
func (s Snapshots) By(snapshot *v1alpha1.Snapshot) string {
	for i := range s.sessions {
		r := &s.sessions[i]
		source := r.Spec.DataSource
		if source == nil || cmp.Or(source.Namespace, r.Namespace) != snapshot.Namespace {
			continue
		}
		var uses bool
		switch resolved := r.Status.Resolved; {
		case resolved != nil:
			uses = resolved.Snapshot == snapshot.Name
		case source.Snapshot == "" || source.Snapshot == v1alpha1.LatestSnapshot:
			uses = source.Repository == snapshot.Spec.Repository
		default:
			uses = source.Snapshot == snapshot.Name
		}
		if uses {
			return "RestoreSession " + r.Namespace + "/" + r.Name
		}
	}
	return ""
}
