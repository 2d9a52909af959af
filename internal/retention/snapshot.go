package retention

import (
	"cmp"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// FromSnapshot returns what a decision needs to know about a Snapshot. user says who uses it; it is empty if nobody
// does. The Snapshots of one run of a BackupBatch, together with those of the runs that retried it, are a restore
// point.
func FromSnapshot(s *v1alpha1.Snapshot, user string) Snapshot {
	out := Snapshot{
		Name: s.Name, Repository: s.Spec.Repository, Time: TimeOf(s), Phase: s.Status.Phase, Held: user,
		Created: s.CreationTimestamp.Time, Damaged: s.Status.Integrity != nil && !*s.Status.Integrity,
	}
	if s.Spec.Paused {
		out.Held = cmp.Or(user, "paused")
	}
	if s.Labels[v1alpha1.LabelInvokerKind] == v1alpha1.BackupBatchKind {
		out.Point = Point(s)
	}
	return out
}

// TimeOf returns when a Snapshot was made: a scan can make its object long after that.
func TimeOf(s *v1alpha1.Snapshot) time.Time {
	if at := s.MadeAt(); at != nil {
		return at.Time
	}
	return s.CreationTimestamp.Time
}

// Point returns the name of the run that began the restore point of a Snapshot.
func Point(s *v1alpha1.Snapshot) string {
	return cmp.Or(s.Labels[v1alpha1.LabelRestorePoint], s.Spec.BackupSession)
}
