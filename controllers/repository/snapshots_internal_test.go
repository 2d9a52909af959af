package repository

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// An alert on the age of the last backup must not be silent for a year because a clock was ahead.
func TestTheLastBackupIsNoneThatIsStillToCome(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	year := new(metav1.NewTime(now.AddDate(1, 0, 0)))
	snapshot := func(at *metav1.Time, created time.Time, size string) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created)}}
		s.Status.Phase, s.Status.SnapshotTime = v1alpha1.SnapshotSucceeded, at
		s.Status.Size = size
		return s
	}
	var status v1alpha1.RepositoryStatus
	summarize(&status, []*v1alpha1.Snapshot{
		snapshot(year, year.Time, "3GiB"), snapshot(year, now.Add(-time.Hour), "2GiB"),
		snapshot(new(metav1.NewTime(now.Add(-2*time.Hour))), now.Add(-2*time.Hour), "1GiB"),
	}, now)
	g.Expect(status.LastBackupTime.Time).To(Equal(now.Add(-time.Hour)))
	g.Expect(status.Size).To(Equal("2GiB"), "the size of the same Snapshot")
	g.Expect(status.RecentSnapshots[1].SnapshotTime.Time).To(Equal(now.Add(-time.Hour)))
	summarize(&status, nil, now)
	g.Expect(status.LastBackupTime.Time).To(Equal(now.Add(-time.Hour)), "its Snapshot is gone")
	status.LastBackupTime = year
	summarize(&status, nil, now)
	g.Expect(status.LastBackupTime).To(BeNil(), "a clock that was ahead has told it")
}
