package repository

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/testbed"
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
	}, now, true)
	g.Expect(status.LastBackupTime.Time).To(Equal(now.Add(-time.Hour)))
	g.Expect(status.Size).To(Equal("2GiB"), "the size of the same Snapshot")
	g.Expect(status.RecentSnapshots[1].SnapshotTime.Time).To(Equal(now.Add(-time.Hour)))
	summarize(&status, nil, now, true)
	g.Expect(status.LastBackupTime.Time).To(Equal(now.Add(-time.Hour)), "its Snapshot is gone")
	status.LastBackupTime = year
	summarize(&status, nil, now, true)
	g.Expect(status.LastBackupTime).To(BeNil(), "a clock that was ahead has told it")
}

// What no check has looked at is not known to be damaged, and what failed is no backup.
func TestDamagedSnapshotsAreCounted(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	snapshot := func(phase v1alpha1.SnapshotPhase, whole *bool) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{}
		s.Status.Phase, s.Status.Integrity = phase, whole
		return s
	}
	ok, failed := v1alpha1.SnapshotSucceeded, v1alpha1.SnapshotFailed
	var status v1alpha1.RepositoryStatus
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	summarize(&status, []*v1alpha1.Snapshot{
		snapshot(ok, nil), snapshot(ok, new(true)), snapshot(ok, new(false)), snapshot(failed, new(false)),
	}, now, true)
	g.Expect(*status.SnapshotCount).To(Equal(int32(3)))
	g.Expect(status.DamagedCount).To(Equal(int32(1)))
	summarize(&status, []*v1alpha1.Snapshot{snapshot(ok, nil)}, now, true)
	g.Expect(status.DamagedCount).To(BeZero(), "it was removed")
	g.Expect(status.UncheckedCount).To(BeZero(), "a run has made it")
	all := []*v1alpha1.Snapshot{snapshot(ok, nil), snapshot(ok, new(true)), snapshot(ok, new(false))}
	for _, s := range all {
		s.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: "uid"}
	}
	summarize(&status, all, now, true)
	g.Expect(status.UncheckedCount).To(Equal(int32(1)))
	for _, s := range all {
		s.Annotations[v1alpha1.AnnotationHalfRestored] = "r/uid/claim"
	}
	summarize(&status, all, now, true)
	g.Expect(status.HalfRestoredCount).To(Equal(int32(2)))
	g.Expect(status.DamagedCount).To(Equal(int32(1)), "that is worse")
	g.Expect(status.UncheckedCount).To(BeZero(), "a check does not make it whole")
	g.Expect(status.NewestHalfRestored).To(BeFalse(), "none has a time")
	all[0].Status.SnapshotTime = new(metav1.NewTime(now))
	all[1].Status.SnapshotTime = new(metav1.NewTime(now.Add(-time.Hour)))
	all[2].Status.SnapshotTime = new(metav1.NewTime(now.Add(-time.Minute)))
	summarize(&status, all, now, true)
	g.Expect(status.NewestHalfRestored).To(BeTrue())
	delete(all[2].Annotations, v1alpha1.AnnotationHalfRestored)
	all[2].Status.SnapshotTime = new(metav1.NewTime(now.Add(time.Minute)))
	summarize(&status, all, now.Add(time.Hour), true)
	g.Expect(status.NewestHalfRestored).To(BeTrue(), "a newer one is damaged")
	delete(all[0].Annotations, v1alpha1.AnnotationHalfRestored)
	summarize(&status, all, now, true)
	g.Expect(status.NewestHalfRestored).To(BeFalse(), "an older one is")
}

// Both clocks were a year ahead when the Snapshots of a Repository were made. Its data is still maintained and checked.
func TestWhatAClockThatWasAheadMadeIsMaintained(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	year := metav1.NewTime(now.AddDate(1, 0, 0))
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: year}}
	s.Status.Phase, s.Status.SnapshotTime = v1alpha1.SnapshotSucceeded, &year
	r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{
		UID: "1", CreationTimestamp: metav1.NewTime(now.AddDate(0, 0, -30)),
	}}
	r.Status.InitializedSpec, r.Status.LastBackupTime = "x", &year // an earlier version has written it
	due := func() *keeper.Work { w, _ := keeper.WorkIn(r, nil, now); return w }
	g.Expect(due()).NotTo(BeNil())
	summarize(&r.Status, []*v1alpha1.Snapshot{s}, now, true)
	g.Expect(r.Status.LastBackupTime).To(BeNil())
	g.Expect(due()).NotTo(BeNil(), "it has a backup")
}

// Both clocks were a year ahead when a backup succeeded. Since they were put right, the password has changed.
func TestASuccessThatIsStillToComeHidesNoChangedPassword(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	year := metav1.NewTime(now.AddDate(1, 0, 0))
	ahead := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Name: "ahead", CreationTimestamp: year}}
	ahead.Status.Phase, ahead.Status.SnapshotTime = v1alpha1.SnapshotSucceeded, &year
	fails := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Name: "fails", CreationTimestamp: metav1.NewTime(now)}}
	fails.Status.Phase = v1alpha1.SnapshotFailed
	fails.Status.Components = map[string]v1alpha1.Component{
		"data": {Phase: v1alpha1.SnapshotFailed, Reason: v1alpha1.ReasonPasswordChanged},
	}
	all := []*v1alpha1.Snapshot{fails, ahead}
	newestFirst(all, now)
	d := doubting(all, nil, now)
	g.Expect(d.why).To(Equal("fails"))
	g.Expect(d.taken).To(BeFalse())
	newestFirst(all, year.Time)
	g.Expect(doubting(all, nil, year.Time).why).To(BeEmpty(), "it has come: the password fits again")
}

// holder returns a Repository of VolumeSnapshots, and a Reconciler that finds it and the Snapshots.
func holder(t *testing.T, now time.Time, snapshots ...client.Object) (
	*v1alpha1.Repository, *Reconciler, *clocktesting.FakePassiveClock,
) {
	t.Helper()
	o := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-web"}}
	o.Spec.Driver = v1alpha1.DriverVolumeSnapshotter
	b := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithObjects(o).WithObjects(snapshots...)
	NewWithT(t).Expect(snapshotsByRepository.Register(t.Context(), testbed.Indexes{ClientBuilder: b})).To(Succeed())
	c, clock := b.Build(), clocktesting.NewFakePassiveClock(now)
	return o, &Reconciler{Client: c, APIReader: c, Clock: clock, EventRecorder: record.NewFakeRecorder(10)}, clock
}

// The clock of a manager is behind for a minute. The time of the last backup stays when its Snapshot is gone. If the
// clock is right, and that of then was ahead, the time goes an hour later.
func TestAClockThatIsBehindForAMinuteForgetsNoLastBackup(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	o, r, clock := holder(t, now)
	runs := 2 * time.Hour
	r.Stopwatch = func() time.Duration { return runs }
	o.Status.LastBackupTime = new(metav1.NewTime(now.Add(-24 * time.Hour)))
	look := func(at time.Time) time.Duration {
		runs += time.Minute
		clock.SetTime(at)
		result, err := r.reconcile(t.Context(), o)
		g.Expect(err).NotTo(HaveOccurred())
		return result.RequeueAfter
	}
	g.Expect(look(now)).To(BeZero())
	behind := now.AddDate(0, 0, -40)
	g.Expect(look(behind)).To(Equal(clockInterval), "somebody can put the clock right")
	g.Expect(o.Status.LastBackupTime).NotTo(BeNil())
	runs += time.Hour
	g.Expect(look(behind.Add(time.Hour + time.Minute))).To(BeZero())
	g.Expect(o.Status.LastBackupTime).To(BeNil())
}

// The clock of the manager is ten minutes behind those of the API server and of the nodes. The Repository looks again
// when today's backup has come for it.
func TestTheLastBackupIsToldByAManagerThatIsBehind(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC) // of the manager
	const off = 10 * time.Minute
	var snapshots []client.Object
	for name, ended := range map[string]time.Time{"today": now, "yesterday": now.Add(-24 * time.Hour)} {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(ended.Add(off - time.Minute)),
		}}
		s.Spec.Repository, s.Spec.SnapshotID = "web", backup.SnapshotID(ended.Add(-time.Minute), name)
		said := metav1.NewTime(ended.Add(off))
		s.Status.Components = map[string]v1alpha1.Component{
			"data": {Phase: v1alpha1.SnapshotSucceeded, CompletionTime: &said},
		}
		s.Status.Phase, s.Status.SnapshotTime = v1alpha1.SnapshotSucceeded, &said
		s.Status.LastUpdateTime = new(metav1.NewTime(ended))
		snapshots = append(snapshots, s)
	}
	o, r, clock := holder(t, now, snapshots...)
	result, err := r.reconcile(t.Context(), o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(off - v1alpha1.ClockTolerance))
	clock.SetTime(now.Add(result.RequeueAfter))
	result, err = r.reconcile(t.Context(), o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(BeZero())
	g.Expect(o.Status.LastBackupTime.Time).To(BeTemporally("==", now.Add(off)))
}

// BenchmarkNewestFirst orders 5,000 Snapshots, as each change of one of them does. The clocks contradict each other, so
// that the times of all components count.
func BenchmarkNewestFirst(b *testing.B) {
	at := func(i int) *metav1.Time {
		return new(metav1.NewTime(time.UnixMilli(0).Add(time.Duration(i) * time.Second)))
	}
	for _, components := range []int{1, 100} {
		b.Run(fmt.Sprint(components), func(b *testing.B) {
			var all []*v1alpha1.Snapshot
			for i := range 5000 {
				ended := at(i * 7919 % 5000)
				s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *at(86400)}}
				s.Spec.SnapshotID = backup.SnapshotID(ended.Time, "")
				s.Status.SnapshotTime, s.Status.LastUpdateTime = ended, ended
				s.Status.Components = map[string]v1alpha1.Component{}
				for j := range components {
					s.Status.Components[fmt.Sprint(j)] = v1alpha1.Component{
						Phase: v1alpha1.SnapshotSucceeded, CompletionTime: ended,
					}
				}
				all = append(all, s)
			}
			for b.Loop() {
				newestFirst(slices.Clone(all), at(2*86400).Time)
			}
		})
	}
}
