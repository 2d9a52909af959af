package repository

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// recent is how many Snapshots the status shows.
const recent = 5

// count puts what the repository's Snapshots say into its status.
func (r *Reconciler) count(ctx context.Context, repository *v1alpha1.Repository) error {
	var list v1alpha1.SnapshotList
	if err := r.List(ctx, &list, client.InNamespace(repository.Namespace), client.MatchingFields{indexSnapshots: repository.Name}); err != nil {
		return fmt.Errorf("list snapshots of %s: %w", repository.Name, err)
	}
	snapshots := slices.DeleteFunc(list.Items, func(s v1alpha1.Snapshot) bool {
		return v1alpha1.HasRecordAnnotation(s.Annotations) || !s.DeletionTimestamp.IsZero()
	})
	slices.SortFunc(snapshots, func(a, b v1alpha1.Snapshot) int {
		if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(b.Spec.SnapshotID, a.Spec.SnapshotID)
	})
	summarize(&repository.Status, snapshots)
	return nil
}

// summarize takes Snapshots, newest first.
func summarize(status *v1alpha1.RepositoryStatus, snapshots []v1alpha1.Snapshot) {
	var succeeded int32
	var last *metav1.Time
	size := ""
	var infos []v1alpha1.SnapshotInfo
	for i := range snapshots {
		s := &snapshots[i]
		if len(infos) < recent {
			infos = append(infos, v1alpha1.SnapshotInfo{
				Name: s.Name, Phase: s.Status.Phase, Session: s.Spec.Session, Size: s.Status.Size, SnapshotTime: s.Status.SnapshotTime,
			})
		}
		if s.Status.Phase != v1alpha1.SnapshotSucceeded {
			continue
		}
		if succeeded++; succeeded == 1 {
			size = s.Status.Size
		}
		if at := s.Status.SnapshotTime; at != nil && (last == nil || last.Before(at)) {
			last = at
		}
	}
	status.SnapshotCount, status.RecentSnapshots = &succeeded, infos
	// What was backed up once stays true when its Snapshots go.
	if last != nil {
		status.LastBackupTime, status.Size = last, size
	}
}
