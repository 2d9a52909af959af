package index

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/retention"
)

// Restores names an index of the RestoreSessions and RestoreBatches that have not ended.
type Restores string

// active is the only value of the index.
const active = "active"

// Register adds the index to a cache. Each name can be registered only once.
func (i Restores) Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.RestoreBatch{}, string(i), func(o client.Object) []string {
		if retention.BatchUnderWay(o.(*v1alpha1.RestoreBatch)) {
			return []string{active}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index RestoreBatches by whether they have ended: %w", err)
	}
	err = indexer.IndexField(ctx, &v1alpha1.RestoreSession{}, string(i), func(o client.Object) []string {
		if retention.RestoreUnderWay(o.(*v1alpha1.RestoreSession)) {
			return []string{active}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index RestoreSessions by whether they have ended: %w", err)
	}
	return nil
}

// InUse holds the restores that have not ended, and finds what works with a Snapshot.
type InUse struct{ retention.InUse }

// InUse lists the restores that have not ended.
func (i Restores) InUse(ctx context.Context, c client.Reader) (InUse, error) {
	var sessions v1alpha1.RestoreSessionList
	var batches v1alpha1.RestoreBatchList
	for _, list := range []client.ObjectList{&sessions, &batches} {
		if err := c.List(ctx, list, client.MatchingFields{string(i): active}); err != nil {
			return InUse{}, fmt.Errorf("list restores: %w", err)
		}
	}
	return InUse{retention.NewInUse(sessions.Items, batches.Items)}, nil
}

// InUseNow reads the restores that have not ended past the cache. A restore that ended never starts again: of those
// that ended for the cache, which stay for ever, it reads only the metadata.
func InUseNow(ctx context.Context, cache, live client.Reader) (InUse, error) {
	sessions, err := read.Unsettled(ctx, cache, live, v1alpha1.RestoreSessionKind, &v1alpha1.RestoreSessionList{},
		func(cached *v1alpha1.RestoreSession, is *metav1.PartialObjectMetadata) bool {
			return cached.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(is.Annotations)
		})
	if err != nil {
		return InUse{}, err
	}
	batches, err := read.Unsettled(ctx, cache, live, v1alpha1.RestoreBatchKind, &v1alpha1.RestoreBatchList{},
		func(cached *v1alpha1.RestoreBatch, is *metav1.PartialObjectMetadata) bool {
			return cached.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(is.Annotations)
		})
	if err != nil {
		return InUse{}, err
	}
	return InUse{retention.NewInUse(sessions, batches)}, nil
}

// reads ends the name of a restore.
const reads = " reads it"

// Reader says which restore has chosen its Snapshot in a Repository and reads its data, or returns "". That Snapshot
// can be gone.
func (s InUse) Reader(repository *v1alpha1.Repository) string {
	if user := s.Reads(repository); user != "" {
		return user + reads
	}
	return ""
}

// User says what works with the data of a Snapshot, or returns "": a restore reads it, or the backup that made it can
// still write to it.
func (s InUse) User(ctx context.Context, c client.Reader, snapshot *v1alpha1.Snapshot) (string, error) {
	if user := s.By(snapshot); user != "" {
		return user + reads, nil
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
