package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// Restores names an index of the RestoreSessions and RestoreBatches that have not ended.
type Restores string

// active is the only value of the index.
const active = "active"

// Register adds the index to a cache. Each name can be registered only once.
func (i Restores) Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.RestoreBatch{}, string(i), func(o client.Object) []string {
		if b := o.(*v1alpha1.RestoreBatch); underWay(b) {
			return []string{active}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index RestoreBatches by whether they have ended: %w", err)
	}
	err = indexer.IndexField(ctx, &v1alpha1.RestoreSession{}, string(i), func(o client.Object) []string {
		if s := o.(*v1alpha1.RestoreSession); !s.Status.Phase.Terminal() &&
			!v1alpha1.HasRecordAnnotation(s.Annotations) {
			return []string{active}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index RestoreSessions by whether they have ended: %w", err)
	}
	return nil
}

// InUse holds the restores that have not ended, to find the Snapshots that they work with or can still choose.
type InUse struct {
	sessions []v1alpha1.RestoreSession
	batches  []v1alpha1.RestoreBatch
}

// Snapshots lists the restores that have not ended.
func (i Restores) Snapshots(ctx context.Context, c client.Reader) (InUse, error) {
	var list v1alpha1.RestoreSessionList
	if err := c.List(ctx, &list, client.MatchingFields{string(i): active}); err != nil {
		return InUse{}, fmt.Errorf("list RestoreSessions under way: %w", err)
	}
	var batches v1alpha1.RestoreBatchList
	if err := c.List(ctx, &batches, client.MatchingFields{string(i): active}); err != nil {
		return InUse{}, fmt.Errorf("list RestoreBatches under way: %w", err)
	}
	return InUse{list.Items, batches.Items}, nil
}

// underWay reports whether a RestoreBatch has chosen Snapshots for which it can still create RestoreSessions.
func underWay(b *v1alpha1.RestoreBatch) bool {
	return b.Status.Resolved != nil && !b.Status.Phase.Terminal() && !v1alpha1.HasRecordAnnotation(b.Annotations)
}

// Of selects the restores that have not ended from the given ones.
func Of(sessions []v1alpha1.RestoreSession, batches []v1alpha1.RestoreBatch) InUse {
	var out InUse
	for _, b := range batches {
		if underWay(&b) {
			out.batches = append(out.batches, b)
		}
	}
	for _, s := range sessions {
		if !s.Status.Phase.Terminal() && !v1alpha1.HasRecordAnnotation(s.Annotations) {
			out.sessions = append(out.sessions, s)
		}
	}
	return out
}

// By names the restore that works with the Snapshot, or returns "". A restore that has not chosen its Snapshot yet can
// choose any Snapshot of its repository.
func (s InUse) By(snapshot *v1alpha1.Snapshot) string {
	for i := range s.sessions {
		r := &s.sessions[i]
		source := r.Spec.DataSource
		if source == nil && r.Namespace == snapshot.Namespace && names(r, snapshot) {
			return "RestoreSession " + r.Namespace + "/" + r.Name
		}
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
	for i := range s.batches {
		b := &s.batches[i]
		if b.Status.Resolved.Namespace == snapshot.Namespace && waitsFor(b, snapshot.Name) {
			return "RestoreBatch " + b.Namespace + "/" + b.Name
		}
	}
	return ""
}

// names reports whether the templates of a restore name a VolumeSnapshot of the Snapshot.
func names(r *v1alpha1.RestoreSession, snapshot *v1alpha1.Snapshot) bool {
	var named []string
	for _, c := range snapshot.Status.Components {
		for _, stats := range c.VolumeSnapshotterStats {
			if named == nil {
				named = destination.NamedSnapshots(r)
			}
			if slices.Contains(named, stats.VolumeSnapshotName) {
				return true
			}
		}
	}
	return false
}

// waitsFor reports whether a RestoreBatch has chosen a Snapshot for a target that has not ended.
func waitsFor(b *v1alpha1.RestoreBatch, snapshot string) bool {
	return slices.ContainsFunc(b.Status.Targets, func(t v1alpha1.RestoreTargetStatus) bool {
		return t.Snapshot == snapshot && !t.Phase.Terminal()
	})
}

// User says what works with the data of a Snapshot, or returns "": a restore reads it, or the backup that made it can
// still write to it.
func (s InUse) User(ctx context.Context, c client.Reader, snapshot *v1alpha1.Snapshot) (string, error) {
	if user := s.By(snapshot); user != "" {
		return user + " reads it", nil
	}
	if snapshot.Status.Phase.Terminal() {
		return "", nil
	}
	var session v1alpha1.BackupSession
	key := client.ObjectKey{Namespace: snapshot.Namespace, Name: snapshot.Spec.BackupSession}
	err := c.Get(ctx, key, &session)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get BackupSession %s: %w", key.Name, err)
	}
	if err != nil || session.Status.Phase.Terminal() {
		return "", nil
	}
	return "BackupSession " + key.String() + " writes to it", nil
}
