package retention_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// The hold of a Repository that moved ends after a check, or eight days after the first one was tried.
func TestHeld(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	moved := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	r := &v1alpha1.Repository{}
	r.Status.LastBackupTime = &metav1.Time{Time: moved}
	held := func(days int) bool {
		_, held := retention.Held(r, moved.AddDate(0, 0, days))
		return held
	}
	tried := func(days int) { retention.TriedCheck(r, metav1.NewTime(moved.AddDate(0, 0, days))) }
	tried(0)
	g.Expect(held(0)).To(BeFalse(), "it has not moved")
	g.Expect(r.Status.CheckTriedTime).To(BeNil())

	retention.Leave(r, metav1.NewTime(moved), retention.WhyMoved)
	g.Expect(held(400)).To(BeTrue(), "it is paused, or its keeper is refused")
	tried(600) // a clock was ahead
	tried(400)
	tried(403)
	g.Expect(held(407)).To(BeTrue())
	g.Expect(held(408)).To(BeFalse(), "checks that fail for ever end no removals for ever")
	until, _ := retention.Held(r, moved)
	g.Expect(until).To(Equal(moved.AddDate(0, 0, 408)))

	retention.Leave(r, metav1.NewTime(moved.AddDate(0, 0, 500)), retention.WhyMoved)
	g.Expect(held(900)).To(BeTrue(), "nothing was tried in the next place")
	conditions.MarkTrue(r, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked, "done")
	g.Expect(held(500)).To(BeFalse())
	r.Status.TakenTime = &metav1.Time{Time: moved}
	g.Expect(held(900)).To(BeTrue(), "another one has the directory")
	r.Status.TakenTime = nil
	retention.ForgetMove(r)
	g.Expect(r.Status.MovedTime).To(BeNil())
	g.Expect(r.Status.CheckTriedTime).To(BeNil())
}

// Maintenance removes what no index names, and the index can still be on its way.
func TestARepositoryIsUnsettledWhileItCanLackAPart(t *testing.T) {
	t.Parallel()
	g, r, at := NewWithT(t), &v1alpha1.Repository{}, time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	unsettled := func(days int) bool { return retention.Unsettled(r, at.AddDate(0, 0, days)) }
	g.Expect(unsettled(0)).To(BeFalse())
	r.Status.Integrity = new(false)
	g.Expect(unsettled(0)).To(BeFalse(), "damage of one that never moved")
	r.Status.GoneTime = &metav1.Time{Time: at}
	g.Expect(unsettled(500)).To(BeTrue(), "no init Job has found it")

	r.Status.GoneTime, r.Status.LastBackupTime = nil, &metav1.Time{Time: at}
	retention.Leave(r, metav1.NewTime(at), retention.WhyCameBack)
	g.Expect(unsettled(500)).To(BeTrue(), "nobody has looked")
	conditions.MarkTrue(r, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked, "done")
	g.Expect(unsettled(27)).To(BeTrue(), "a check found damage")
	g.Expect(unsettled(29)).To(BeFalse(), "it is lost for good")
	r.Status.Integrity = new(true)
	g.Expect(unsettled(0)).To(BeFalse(), "all is there")
}

// A storage that is away again and again must not put off the end of the wait.
func TestARepositoryThatComesBackAgain(t *testing.T) {
	t.Parallel()
	g, r, at := NewWithT(t), &v1alpha1.Repository{}, time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	held := func(days int) bool { _, h := retention.Held(r, at.AddDate(0, 0, days)); return h }
	comesBack := func(days int) {
		retention.Leave(r, metav1.NewTime(at.AddDate(0, 0, days)), retention.WhyCameBack)
	}
	r.Status.LastBackupTime = &metav1.Time{Time: at}
	comesBack(0)
	retention.TriedCheck(r, metav1.NewTime(at))
	comesBack(5)
	g.Expect(r.Status.MovedTime.Time).To(Equal(at))
	g.Expect(held(7)).To(BeTrue())
	g.Expect(held(9)).To(BeFalse(), "no check has ended in all this time")
	conditions.MarkTrue(r, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked, "done, and found damage")
	comesBack(10)
	g.Expect(held(11)).To(BeTrue(), "all was looked at before it was gone again")
	r.Status.MovedTime = &metav1.Time{Time: at.AddDate(1, 0, 0)}
	g.Expect(retention.Damaging(r, at)).To(BeFalse(), "a clock was ahead")
}

// Retention has let a Snapshot go for two others, which a check finds damaged once the storage has gone back in time.
func TestWhatRetentionLetGoForDamagedSnapshotsWaits(t *testing.T) {
	g, at := NewWithT(t), time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	r, s := &v1alpha1.Repository{}, &v1alpha1.Snapshot{}
	mistaken := func(days int) bool { return retention.Mistaken(r, s, at.AddDate(0, 0, days)) }
	conditions.MarkFalse(s, v1alpha1.ConditionRetained, v1alpha1.ReasonNotKept, "no rule keeps it")
	s.DeletionTimestamp = &metav1.Time{Time: at.Add(-time.Hour)}
	g.Expect(mistaken(0)).To(BeFalse())
	r.Status.MovedTime, r.Status.Integrity = &metav1.Time{Time: at}, new(false)
	g.Expect(mistaken(1)).To(BeTrue())
	g.Expect(mistaken(28)).To(BeFalse(), "the damaged ones can be lost for good")

	s.DeletionTimestamp.Time = at.Add(time.Hour)
	g.Expect(mistaken(1)).To(BeFalse(), "retention knew")
	s.DeletionTimestamp.Time = at
	s.Status.Integrity = new(false)
	g.Expect(mistaken(1)).To(BeFalse(), "damaged itself")
	s.Status.Integrity = nil
	r.Status.Integrity = new(true)
	g.Expect(mistaken(1)).To(BeFalse(), "all is there")
	r.Status.Integrity, s.Status.Conditions = new(false), nil
	g.Expect(mistaken(1)).To(BeFalse(), "somebody has deleted it")
}
