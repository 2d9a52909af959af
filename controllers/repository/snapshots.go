package repository

import (
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// recent is the number of Snapshots that the status shows.
const recent = 5

// count summarizes the repository's Snapshots in its status, and returns those that stay, newest first. disprovedBy
// names the newest ended Snapshot if it failed because the password no longer fits.
func (r *Reconciler) count(
	ctx context.Context, repository *v1alpha1.Repository,
) (disprovedBy string, snapshots []*v1alpha1.Snapshot, _ error) {
	snapshots, err := snapshotsByRepository.Of(ctx, r.Client, repository.Namespace, repository.Name)
	if err != nil {
		return "", nil, err
	}
	snapshots = slices.DeleteFunc(snapshots, func(s *v1alpha1.Snapshot) bool { return !s.DeletionTimestamp.IsZero() })
	now := r.Clock.Now()
	slices.SortFunc(snapshots, func(a, b *v1alpha1.Snapshot) int {
		if c := madeBy(b, now).Compare(madeBy(a, now)); c != 0 {
			return c
		}
		return strings.Compare(b.Spec.SnapshotID, a.Spec.SnapshotID)
	})
	summarize(&repository.Status, snapshots, now)
	return snapshotWithChangedPassword(snapshots), snapshots, nil
}

// madeBy returns when a Snapshot was made, or its object if that is not known.
func madeBy(s *v1alpha1.Snapshot, now time.Time) time.Time {
	if at := s.MadeBy(now); at != nil {
		return at.Time
	}
	return s.CreationTimestamp.Time
}

// snapshotWithChangedPassword returns the name of the newest Snapshot that has ended, if it failed because the password
// no longer opens the repository, and "" otherwise. The Snapshots must be sorted, newest first.
func snapshotWithChangedPassword(snapshots []*v1alpha1.Snapshot) string {
	for _, s := range snapshots {
		switch s.Status.Phase {
		case v1alpha1.SnapshotSucceeded:
			return ""
		case v1alpha1.SnapshotFailed:
			for _, c := range s.Status.Components {
				if c.Phase == v1alpha1.SnapshotFailed && c.Reason == v1alpha1.ReasonPasswordChanged {
					return s.Name
				}
			}
			return ""
		}
	}
	return ""
}

// summarize expects the Snapshots newest first.
func summarize(status *v1alpha1.RepositoryStatus, snapshots []*v1alpha1.Snapshot, now time.Time) {
	var succeeded int32
	var last *metav1.Time
	size := ""
	var infos []v1alpha1.SnapshotInfo
	for _, s := range snapshots {
		if len(infos) < recent {
			infos = append(infos, v1alpha1.SnapshotInfo{
				Name: s.Name, Phase: s.Status.Phase, Session: s.Spec.Session, Size: s.Status.Size,
				SnapshotTime: s.MadeBy(now),
			})
		}
		if s.Status.Phase != v1alpha1.SnapshotSucceeded {
			continue
		}
		succeeded++
		if at := s.PassedBy(now); at != nil && (last == nil || last.Before(at)) {
			last, size = at, s.Status.Size
		}
	}
	status.SnapshotCount, status.RecentSnapshots = &succeeded, infos
	// The time of the last backup stays when its Snapshot goes, unless a clock that was ahead has told it.
	if known := status.LastBackupTime; known != nil && v1alpha1.Ahead(known.Time, now) {
		status.LastBackupTime = nil
	}
	if last != nil {
		status.LastBackupTime, status.Size = last, size
	}
	if status.StoredBytes != nil {
		status.Size = task.FormatSize(*status.StoredBytes)
	}
}
