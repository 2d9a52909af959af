package pushgateway

import (
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/pushgateway"
)

// waits reports whether the objects of a run, which ended this long ago, are not yet known as they are after it.
func waits(b pushgateway.Backup, age time.Duration) bool {
	limit, old := patience, stale(b)
	if b.Session.Status.Phase == v1alpha1.BackupSessionSucceeded && old {
		limit = news
	}
	return age < limit && (old || behind(b))
}

// stale reports whether the cache holds a Snapshot as it was before its run ended. The end of a Snapshot is written
// before the end of its run, but each kind has its own watch. A Snapshot of a failed run can stay without an end.
func stale(b pushgateway.Backup) bool {
	for _, snapshot := range b.Snapshots {
		if phase := snapshot.Status.Phase; phase != v1alpha1.SnapshotSucceeded && phase != v1alpha1.SnapshotFailed {
			return true
		}
	}
	return false
}

// behind reports whether a Repository does not know the end of a Snapshot of the run yet.
func behind(b pushgateway.Backup) bool {
	for _, snapshot := range b.Snapshots {
		repository := b.Repositories[snapshot.Spec.Repository]
		knows := func(info v1alpha1.SnapshotInfo) bool {
			return info.Name == snapshot.Name && info.Phase == snapshot.Status.Phase
		}
		if repository != nil && !slices.ContainsFunc(repository.Status.RecentSnapshots, knows) {
			return true
		}
	}
	return false
}
