package keeper_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// lacks lets a restore end at a time because the repository lacks the data of a Snapshot.
func (s *shop) lacks(restore *v1alpha1.RestoreSession, of *v1alpha1.Snapshot, at time.Time) {
	s.t.Helper()
	bed.EditStatus(s.t, restore, func() {
		restore.Status.Phase, restore.Status.CompletionTime = v1alpha1.RestoreSessionFailed, &metav1.Time{Time: at}
		restore.Status.Resolved = &v1alpha1.ResolvedRestore{
			Namespace: s.namespace, Snapshot: of.Name, SnapshotUID: of.UID,
			Repository: v1alpha1.ResolvedRepository{Name: s.repository.Name, UID: s.repository.UID},
			Task:       v1alpha1.ResolvedTask{Driver: v1alpha1.DriverKopia},
		}
		restore.Status.Components = map[string]v1alpha1.RestoredComponent{"pvc": {
			Phase: v1alpha1.RestoreSessionFailed, ID: of.Status.Components["pvc"].ID,
			Reason: v1alpha1.ReasonRepositoryDamaged,
		}}
	})
}

// Somebody has deleted packs from the bucket, the next backup succeeded, and the weekly check is far away. A restore
// of an old Snapshot tells.
func TestARestoreThatMeetsDamageMakesACheckDue(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	damaged, other := s.snapshot(s.repository, 50, good), s.snapshot(s.repository, 1, good)
	days := metav1.NewTime(now.Now().Add(-2 * 24 * time.Hour))
	today := metav1.NewTime(now.Now())
	bed.EditStatus(t, damaged, func() { damaged.Status.LastCheckTime = &days })
	bed.EditStatus(t, s.repository, func() {
		s.repository.Status.LastBackupTime = &today
		s.repository.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: &today, Full: &days}
	})
	restore := s.restores(damaged)
	s.noJob("the next check is due in five days")

	s.lacks(restore, damaged, now.Now())
	job, keep := s.job()
	g.Expect(keep.Keep[0].Maintain).To(Equal(task.MaintainFull))
	g.Expect(keep.Keep[0].Check).To(HaveExactElements(
		HaveField("Snapshot", damaged.Name), HaveField("Snapshot", other.Name)), "the other one was never checked")
	expectEvent(t, s.namespace, "a restore of Snapshot "+damaged.Name+
		" has met data that is damaged or missing: a check looks at the Snapshots within a day")

	s.found(job, 2, 0)
	integrity(t, damaged, "false")
	integrity(t, other, "true")
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(shown(s.repository.Status.Integrity)).To(Equal("false"))
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionChecked)).To(Equal(v1alpha1.ReasonChecked))
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionChecked)).
			To(HaveSuffix("the damage that a restore or another check has met"))
	}, "the check says which Snapshots are damaged, although the restore ended in the second in which it began")
	gone(t, job, "the Job is removed")
	s.noJob("the next check is due in a day")
}

// A check can have looked at a Snapshot before a restore met damage there. The next one looks again.
func TestDamageThatIsMetDuringACheckIsNotForgotten(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	one := s.snapshot(s.repository, 1, good)
	restore := s.restores(one)
	s.dueFor(task.MaintainFull)
	job, _ := s.job()
	s.lacks(restore, one, job.CreationTimestamp.Add(2*time.Second))
	bed.Cached(t, restore)
	s.found(job, 1)
	integrity(t, one, "true")
	bed.Eventually(t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionChecked)).
			To(Equal(v1alpha1.ReasonRepositoryDamaged))
	}, "the next check is due in a day")
	gone(t, job, "the Job is removed")
	g.Expect(bed.Client.Delete(t.Context(), restore)).To(Succeed())
}
