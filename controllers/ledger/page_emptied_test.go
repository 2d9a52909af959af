package ledger

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// madeInto makes a run of the policy data that has backed up its target into Repositories.
func (w *world) madeInto(run string, repositories ...string) {
	w.t.Helper()
	target := v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"}
	w.session(run, func(s *v1alpha1.BackupSession) {
		s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "data"
		s.Status.Targets = []v1alpha1.BackupTargetStatus{{
			Name: "data", Phase: v1alpha1.BackupSessionSucceeded, AppRef: target,
		}}
		t := v1alpha1.ResolvedTarget{Name: "data", AppRef: target, Configuration: "data"}
		for _, name := range repositories {
			t.Repositories = append(t.Repositories, v1alpha1.ResolvedRepository{Name: name})
		}
		s.Status.Resolved.Targets = []v1alpha1.ResolvedTarget{t}
	})
}

// holds sets what a Repository has counted.
func (w *world) holds(repository string, count int32, last *metav1.Time) {
	w.t.Helper()
	r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: repository}}
	bed.EditStatus(w.t, r, func() { r.Status.SnapshotCount, r.Status.LastBackupTime = &count, last })
}

// top matches a page whose top names the policy data for what is wrong with its target.
func (w *world) top(what string) OmegaMatcher {
	return ContainSubstring("\n**" + what + ":** BackupConfiguration/data in " + w.namespace + " (1 of 1 targets).\n")
}

// Who reads nothing but the branch learns that somebody has deleted all backups, or the Repository with them.
func TestThePageNamesTargetsWithNoBackupLeft(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	page := func() string { return w.rendered("l") }
	w.ledger("l")
	w.nightly("data")
	w.uses("data", "near", "far")
	made := time.Now()
	for _, name := range []string{"near", "far", "new"} {
		w.repository(name, v1alpha1.ReasonReady)
	}
	w.clock.SetTime(made.Add(time.Hour))
	w.madeInto("a", "near", "far")
	const none, some = "PersistentVolumeClaim/data (**no backup left**)",
		"PersistentVolumeClaim/data (**no backup left in some repository**)"
	g.Expect(page()).NotTo(ContainSubstring("backup left"), "no Repository has counted its first backup")
	last := &metav1.Time{Time: w.clock.Now()}
	w.holds("near", 1, last)
	w.holds("far", 0, last)
	g.Expect(page()).To(And(w.top("No backup left in some repository"), ContainSubstring(some)))
	w.holds("near", 0, last)
	g.Expect(page()).To(And(w.top("No backup left"), ContainSubstring(none)))
	w.uses("data", "near", "far", "new")
	g.Expect(page()).To(ContainSubstring(none), "nobody has backed up anything into the new one")
	w.holds("near", 2, last)
	w.holds("far", 1, last)
	g.Expect(page()).NotTo(ContainSubstring("backup left"))

	for _, name := range []string{"near", "far"} {
		r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
		g.Expect(bed.Client.Delete(t.Context(), r)).To(Succeed())
	}
	g.Expect(page()).To(ContainSubstring(none), "they are gone")
	w.clock.SetTime(made.Add(-time.Hour))
	w.madeInto("elsewhere", "again")
	w.uses("data", "again")
	w.repository("again", v1alpha1.ReasonReady)
	w.holds("again", 0, nil)
	g.Expect(page()).To(ContainSubstring(none), "it was made after the success")
}

// After a scan has made all again, nobody knows whether data is missing: Protected says so, and the page does.
func TestThePageNamesTargetsWhoseBackupsNobodyHasChecked(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	counts := w.backedUpTwice()
	unchecked := func(repository string, count int32) {
		counts(repository, func(s *v1alpha1.RepositoryStatus) { s.UncheckedCount = count })
	}
	unchecked("far", 1)
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("checked"), "it holds one that a run has made")
	unchecked("near", 2)
	g.Expect(w.rendered("l")).To(And(w.top("Not checked yet in some repository"),
		ContainSubstring("PersistentVolumeClaim/data (**backups not checked yet in some repository**)")))
	unchecked("far", 2)
	g.Expect(w.rendered("l")).To(And(w.top("Not checked yet"),
		ContainSubstring("PersistentVolumeClaim/data (**backups not checked yet**)")))
	unchecked("far", 0)
	unchecked("near", 0)
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("checked"))
}

// Nobody shall believe in a backup that latest does not take.
func TestThePageNamesTargetsWhoseBackupsAreHalfRestored(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	counts := w.backedUpTwice()
	half := func(repository string, half, unchecked int32) {
		counts(repository, func(s *v1alpha1.RepositoryStatus) {
			s.HalfRestoredCount, s.NewestHalfRestored = half, half > 0 && unchecked > 0
			s.UncheckedCount = unchecked
		})
	}
	half("far", 1, 0)
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("half"), "a newer one is whole")
	half("near", 1, 1)
	g.Expect(w.rendered("l")).To(And(w.top("Half restored in some repository"),
		ContainSubstring("PersistentVolumeClaim/data (**newest backup half restored in some repository**)")))
	half("far", 0, 2)
	g.Expect(w.rendered("l")).To(And(w.top("Half restored"), w.top("Not checked yet in some repository"),
		ContainSubstring("PersistentVolumeClaim/data (**newest backup half restored; "+
			"backups not checked yet in some repository**)")))
	half("far", 0, 0)
	half("near", 0, 0)
	g.Expect(w.rendered("l")).NotTo(Or(ContainSubstring("alf restored"), ContainSubstring("checked")))
}

// backedUpTwice makes a policy that the Ledger l shows, and a backup of its target in the Repositories near and far.
// What it returns sets what one of them has counted beside two Snapshots.
func (w *world) backedUpTwice() func(repository string, set func(*v1alpha1.RepositoryStatus)) {
	w.ledger("l")
	w.nightly("data")
	w.uses("data", "near", "far")
	for _, name := range []string{"near", "far"} {
		w.repository(name, v1alpha1.ReasonReady)
	}
	w.clock.SetTime(time.Now().Add(time.Hour))
	w.madeInto("a", "near", "far")
	last := &metav1.Time{Time: w.clock.Now()}
	return func(repository string, set func(*v1alpha1.RepositoryStatus)) {
		w.holds(repository, 2, last)
		r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: repository}}
		bed.EditStatus(w.t, r, func() { set(&r.Status) })
	}
}

// Nobody must take a policy that starts nothing for one that does.
func TestThePageSaysWhatIsSuspended(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("l")
	w.nightly("data")
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "data"}}
	at := metav1.NewTime(time.Date(2030, 1, 1, 3, 0, 0, 0, time.UTC))
	bed.EditStatus(t, c, func() {
		c.Status.Sessions = []v1alpha1.SessionStatus{{Name: "nightly", NextSchedule: &at}}
	})
	g.Expect(w.rendered("l")).To(ContainSubstring("| 2030-01-01 03:00 | no |"))
	bed.Edit(t, c, func() { c.Spec.Sessions[0].Scheduler.Suspend = new(true) })
	g.Expect(w.rendered("l")).To(ContainSubstring("| suspended | no |"))
	bed.Edit(t, c, func() {
		weekly := v1alpha1.SessionConfig{Name: "weekly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "0 3 * * 0"}}
		c.Spec.Sessions = append(c.Spec.Sessions, v1alpha1.BackupConfigurationSession{SessionConfig: weekly})
	})
	bed.EditStatus(t, c, func() {
		c.Status.Sessions = append(c.Status.Sessions, v1alpha1.SessionStatus{Name: "weekly", NextSchedule: &at})
	})
	g.Expect(w.rendered("l")).To(ContainSubstring("| 2030-01-01 03:00 (suspended: nightly) | no |"))
	bed.Edit(t, c, func() { c.Spec.Paused = true })
	g.Expect(w.rendered("l")).To(ContainSubstring("| paused | no |"))
}

// A copy in another bucket whose Secret is misspelled never has a run. Another policy backs its target up.
func TestThePageNamesPoliciesWhoseFirstRunIsLate(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("l")
	w.nightly("data")
	w.session("elsewhere", func(s *v1alpha1.BackupSession) {
		s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "another"
	})
	c := get(w, &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "data"}})
	w.clock.SetTime(c.CreationTimestamp.Add(time.Second))
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("o backup yet"), "its first slot is still to come")
	slot, err := schedule.Next(c.Spec.Sessions[0].Scheduler.Schedule, c.CreationTimestamp.Time)
	g.Expect(err).NotTo(HaveOccurred())
	w.clock.SetTime(slot.Add(run.LateAfter))
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("o backup yet"), "its first run has its time")
	w.clock.SetTime(slot.Add(run.LateAfter + time.Second))
	g.Expect(w.rendered("l")).To(ContainSubstring(
		"**No backup yet:** BackupConfiguration/data in " + w.namespace + " (1 of 1 targets).\n"))
	w.madeInto("a", "data")
	g.Expect(w.rendered("l")).NotTo(ContainSubstring("o backup yet"))
}
