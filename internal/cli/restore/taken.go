package restore

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/get"
)

// taken says of what time the Snapshots are that restores took: "latest" can be older than somebody thinks. It reads
// each Snapshot once.
type taken struct {
	api client.Client
	now time.Time
	of  map[client.ObjectKey]string
}

func newTaken(api client.Client, now time.Time) *taken {
	return &taken{api: api, now: now, of: map[client.ObjectKey]string{}}
}

// when returns " of <time>", or "" where that can't be read: the Snapshot is gone, or its namespace is closed to the
// user. An empty UID is that of any Snapshot of the name.
func (t *taken) when(ctx context.Context, key client.ObjectKey, uid types.UID) string {
	if of, known := t.of[key]; known {
		return of
	}
	var s v1alpha1.Snapshot
	of := ""
	if err := t.api.Get(ctx, key, &s); err == nil && (uid == "" || s.UID == uid) {
		if at := s.MadeBy(t.now); at != nil {
			of = " of " + at.UTC().Format(time.RFC3339)
		}
	}
	t.of[key] = of
	return of
}

// bySession names the Snapshot that a restore took which succeeded.
func (t *taken) bySession(ctx context.Context, s *v1alpha1.RestoreSession) string {
	r := s.Status.Resolved
	if s.Status.Phase != v1alpha1.RestoreSessionSucceeded || r == nil || r.Snapshot == "" {
		return ""
	}
	key := client.ObjectKey{Namespace: r.Namespace, Name: r.Snapshot}
	return ", Snapshot " + r.Snapshot + t.when(ctx, key, r.SnapshotUID)
}

// byBatch names the restore point that a RestoreBatch took which succeeded, if it is one.
func byBatch(b *v1alpha1.RestoreBatch) string {
	if b.Status.Phase != v1alpha1.RestoreSessionSucceeded || b.Status.RestorePoint == "" {
		return ""
	}
	return ", restore point of BackupSession " + b.Status.RestorePoint
}

// target describes a target of a RestoreBatch, with the time of the Snapshot that it was restored from.
func (t *taken) target(ctx context.Context, b *v1alpha1.RestoreBatch, of v1alpha1.RestoreTargetStatus) string {
	state := get.RestoredTargetState(of)
	if of.Phase != v1alpha1.RestoreSessionSucceeded || of.Snapshot == "" || b.Status.Resolved == nil {
		return state
	}
	return state + t.when(ctx, client.ObjectKey{Namespace: b.Status.Resolved.Namespace, Name: of.Snapshot}, "")
}
