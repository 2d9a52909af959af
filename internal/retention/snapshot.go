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
		Name: s.Name, Repository: s.Spec.Repository, Session: s.Spec.Session, Time: TimeOf(s),
		Target: s.Labels[v1alpha1.LabelConfiguration], Phase: s.Status.Phase, Held: user,
		Created: s.CreationTimestamp.Time,
		Damaged: v1alpha1.Damaged(s.Status.Integrity),
	}
	if HalfRestored(s) {
		out.Damaged = true // The Snapshots from before that restore stay as if it did not exist.
	}
	if s.Spec.Paused {
		out.Held = cmp.Or(user, "paused")
	}
	if s.Labels[v1alpha1.LabelInvokerKind] == v1alpha1.BackupBatchKind {
		out.Point = Point(s)
	}
	if s.Rebuilt() {
		if Unchecked(s) {
			out.Unchecked = dayAfter(out.Created.Add(checkedWithin))
		}
		if out.Point != "" {
			out.Gathering = dayAfter(out.Created.Add(scannedWithin))
		}
	}
	return out
}

const (
	// checkedWithin is how long a Snapshot that a scan made waits for a check, which comes every week, and how long
	// those of a Repository that has moved do. A failed one gets none.
	checkedWithin = 8 * 24 * time.Hour
	// scannedWithin is how long the scans of the Repositories of a batch can take.
	scannedWithin = 24 * time.Hour
)

// dayAfter rounds a time up to a whole day: Decide looks at each time at which a hold ends.
func dayAfter(t time.Time) time.Time { return t.Add(24*time.Hour - 1).Truncate(24 * time.Hour) }

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
