package pushgateway

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/common/route"
	"github.com/prometheus/pushgateway/handler"
	"github.com/prometheus/pushgateway/storage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/pushgateway"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var (
	bed    testbed.Bed
	events testbed.Events
	pusher *Pusher
	store  storage.MetricStore
	now    = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	// refusals counts the pushes of a job that the gateway refused.
	refusals atomic.Int32
)

// refused is part of the names of jobs whose pushes the gateway refuses.
const refused = "refused"

func TestMain(m *testing.M) {
	logger := slog.New(slog.DiscardHandler)
	store = storage.NewDiskMetricStore("", 0, nil, logger)
	router := route.New()
	gate := func(replace bool) http.HandlerFunc {
		take := handler.Push(store, replace, true, false, logger)
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, refused) {
				refusals.Add(1)
				http.Error(w, "full", http.StatusInsufficientStorage)
				return
			}
			take(w, r)
		}
	}
	router.Post("/metrics/job/:job/*labels", gate(false))
	router.Put("/metrics/job/:job/*labels", gate(true))
	server := httptest.NewServer(router)
	gateway, err := pushgateway.New(server.URL)
	if err != nil {
		panic(err)
	}
	code := bed.Run(m, testbed.WithControllers(func(mgr ctrl.Manager) error {
		pusher = &Pusher{
			Client: mgr.GetClient(), EventRecorder: &events, Gateway: gateway,
			Clock: clocktesting.NewFakePassiveClock(now),
		}
		return pusher.SetupWithManager(mgr, controller.Options{})
	}))
	server.Close()
	_ = store.Shutdown()
	os.Exit(code)
}

// pushed returns the value of a metric in the group of a job, or -1 if there is none.
func pushed(job, metric string) float64 {
	for _, family := range store.GetMetricFamilies() {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if family.GetName() == metric && label.GetName() == "job" && label.GetValue() == job {
					if m.GetGauge() != nil {
						return m.GetGauge().GetValue()
					}
					return m.GetUntyped().GetValue()
				}
			}
		}
	}
	return -1
}

// endedRun creates a BackupSession that ended this many minutes before eight.
func endedRun(
	t testing.TB, namespace, invoker, name string, minutes int, phase v1alpha1.BackupSessionPhase,
) *v1alpha1.BackupSession {
	t.Helper()
	return endedWith(t, namespace, invoker, name, minutes, phase, nil)
}

// endedWith creates a BackupSession with resolved targets.
func endedWith(
	t testing.TB, namespace, invoker, name string, minutes int, phase v1alpha1.BackupSessionPhase,
	resolved *v1alpha1.ResolvedBackup,
) *v1alpha1.BackupSession {
	t.Helper()
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.Invoker = v1alpha1.TypedLocalObjectReference{
		APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind,
		Name: invoker,
	}
	s.Spec.Session = "nightly"
	bed.Create(t, s)
	bed.EditStatus(t, s, func() {
		end := metav1.NewTime(now.Add(-time.Duration(minutes) * time.Minute))
		s.Status.Phase, s.Status.CompletionTime, s.Status.Resolved = phase, &end, resolved
	})
	return s
}

const succeeded = "stash_backup_session_success"

func TestARunThatEndedIsPushedOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	s := endedRun(t, namespace, "files", "one", 5, v1alpha1.BackupSessionFailed)
	job := "backupconfiguration-" + namespace + "-files"
	g.Eventually(func() float64 { return pushed(job, succeeded) }, testbed.Patience, testbed.Interval).
		Should(Equal(0.0), "the failure is pushed")
	when := pushed(job, "push_time_seconds")
	bed.Edit(t, s, func() { s.Labels = map[string]string{"touched": "x"} })
	g.Consistently(func() float64 { return pushed(job, "push_time_seconds") }, "1s", "100ms").Should(Equal(when))
	g.Expect(bed.Writes(namespace)).To(BeEmpty(), "the push writes nothing to the cluster")
}

func TestAnOlderRunAndOldNewsAreNotPushed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	r := &Pusher{Client: bed.Manager.GetClient(), EventRecorder: &events, Gateway: pusher.Gateway, Clock: pusher.Clock}
	older := endedRun(t, namespace, "files", "older", 20, v1alpha1.BackupSessionFailed)
	newer := endedRun(t, namespace, "files", "newer", 10, v1alpha1.BackupSessionFailed)
	g.Eventually(func(g Gomega) {
		var cached v1alpha1.BackupSession
		g.Expect(bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(newer), &cached)).To(Succeed())
		g.Expect(cached.Status.CompletionTime).NotTo(BeNil())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the cache knows both")
	g.Expect(r.later(t.Context(), older)).To(BeTrue())
	g.Expect(r.later(t.Context(), newer)).To(BeFalse(), "a restarted manager pushes only the newest run")
	g.Expect(r.due(newer, newer.Status.CompletionTime)).To(BeTrue())
	day := metav1.NewTime(now.Add(-24 * time.Hour))
	g.Expect(r.due(newer, &day)).To(BeFalse())
	newer.Annotations = map[string]string{v1alpha1.AnnotationRecord: "x"}
	g.Expect(r.due(newer, newer.Status.CompletionTime)).To(BeFalse(), "a record is no run")
}

// A run of a clock that was ahead seems to end after all others until its date. It must not hide that backups fail.
func TestARunOfAClockThatWasAheadHidesNoFailure(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	job := "backupconfiguration-" + namespace + "-files"
	state := func() float64 { return pushed(job, succeeded) }
	ahead := endedRun(t, namespace, "files", "ahead", -365*24*60, v1alpha1.BackupSessionSucceeded)
	bed.Cached(t, ahead)
	fails := endedRun(t, namespace, "files", "fails", 5, v1alpha1.BackupSessionFailed)
	g.Eventually(state, testbed.Patience, testbed.Interval).Should(Equal(0.0), "the failure is pushed")

	bed.Cached(t, fails)
	r := &Pusher{Client: bed.Manager.GetClient(), Clock: pusher.Clock} // as after a restart
	g.Expect(r.later(t.Context(), ahead)).To(BeTrue(), "the gateway holds the failure")
	g.Expect(r.later(t.Context(), fails)).To(BeFalse())
	// Nobody knows when it ended: a run can take longer than anything is news.
	for _, created := range []time.Time{now.Add(-news / 2), now.Add(-2 * news), now.AddDate(1, 0, 0)} {
		ahead.CreationTimestamp = metav1.NewTime(created)
		g.Expect(r.due(ahead, ahead.Status.CompletionTime)).To(BeTrue(), "created at %s", created)
	}
}

// Both clocks were ahead for several runs, the last of which failed. A restarted manager pushes only that one.
func TestTheLastOfSeveralRunsOfClocksThatWereAheadIsPushed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	const year = 365 * 24 * 60
	succeeds := endedRun(t, namespace, "files", "a", -year, v1alpha1.BackupSessionSucceeded)
	fails := endedRun(t, namespace, "files", "b", -year-60, v1alpha1.BackupSessionFailed)
	bed.Cached(t, succeeds, fails)
	r := &Pusher{Client: bed.Manager.GetClient(), Clock: clocktesting.NewFakePassiveClock(now.AddDate(-1, 0, 0))}
	g.Expect(r.later(t.Context(), succeeds)).To(BeTrue(), "the failure came after it")
	g.Expect(r.later(t.Context(), fails)).To(BeFalse())
}

// A Snapshot that never ends keeps no push waiting for ever, also if no clock tells when its run ended.
func TestAPushWaitsOnlySoLongForASnapshot(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	clock := clocktesting.NewFakePassiveClock(now)
	r := &Pusher{Clock: clock}
	year := metav1.NewTime(now.AddDate(1, 0, 0))
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{UID: "u", CreationTimestamp: year}}
	s.Status.CompletionTime = &year
	b := pushgateway.Backup{Session: s, Snapshots: map[string]*v1alpha1.Snapshot{"snap": {}}}
	for phase, limit := range map[v1alpha1.BackupSessionPhase]time.Duration{
		v1alpha1.BackupSessionFailed: patience, v1alpha1.BackupSessionSucceeded: news,
	} {
		s.UID, s.Status.Phase = types.UID(phase), phase
		clock.SetTime(now)
		g.Expect(waits(b, r.age(s, &year))).To(BeTrue(), "%s", phase)
		clock.SetTime(now.Add(limit - time.Second))
		g.Expect(waits(b, r.age(s, &year))).To(BeTrue(), "%s", phase)
		clock.SetTime(now.Add(limit))
		g.Expect(waits(b, r.age(s, &year))).To(BeFalse(), "%s", phase)
		g.Expect(r.due(s, &year)).To(BeTrue(), "%s: it is pushed", phase)
	}
	r.forget(s)
	g.Expect(r.seen).NotTo(HaveKey(s.UID))
}

// backedUp creates a Repository that has counted four Snapshots, the Snapshot of a run in it, and the run, which has
// succeeded. The Snapshot is in the cache in this phase when the run ends.
func backedUp(t testing.TB, namespace string, minutes int, phase v1alpha1.SnapshotPhase) (
	*v1alpha1.Repository, *v1alpha1.Snapshot,
) {
	t.Helper()
	return backedUpBy(t, namespace, minutes, phase, v1alpha1.BackupSessionSucceeded)
}

// backedUpBy is backedUp by a run that ended in a phase.
func backedUpBy(
	t testing.TB, namespace string, minutes int, phase v1alpha1.SnapshotPhase, ended v1alpha1.BackupSessionPhase,
) (*v1alpha1.Repository, *v1alpha1.Snapshot) {
	t.Helper()
	r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "r"}}
	r.Spec = v1alpha1.RepositorySpec{
		StorageRef: v1alpha1.ObjectReference{Name: "none"}, Path: "/r",
		EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
	}
	bed.Create(t, r)
	bed.EditStatus(t, r, func() { r.Status.SnapshotCount = new(int32(4)) })
	snapshot := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "snap"}}
	snapshot.Spec = v1alpha1.SnapshotSpec{
		SnapshotID: "01", Repository: "r", Session: "nightly", BackupSession: "one",
		Version: v1alpha1.SnapshotLayoutVersion,
		AppRef:  v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "files"},
	}
	bed.Create(t, snapshot)
	bed.EditStatus(t, snapshot, func() { snapshot.Status.Phase = phase })
	bed.Cached(t, r, snapshot)
	endedWith(t, namespace, "files", "one", minutes, ended,
		&v1alpha1.ResolvedBackup{Targets: []v1alpha1.ResolvedTarget{{
			Name: "files", AppRef: snapshot.Spec.AppRef, Configuration: "files",
			Repositories: []v1alpha1.ResolvedRepository{{
				Name: "r", Snapshot: "snap", StorageRef: r.Spec.StorageRef,
				Directory: "r", EncryptionSecret: r.Spec.EncryptionSecret,
			}},
		}}})
	return r, snapshot
}

// The Repository counts a Snapshot at about the time at which the run ends: the push includes that count.
func TestAPushWaitsForTheRepository(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	r, _ := backedUp(t, namespace, 0, v1alpha1.SnapshotSucceeded)
	job := "backupconfiguration-" + namespace + "-files"
	count := func() float64 { return pushed(job, "stash_repository_snapshot_count") }
	g.Consistently(count, "1500ms", "100ms").Should(Equal(-1.0), "4 is the count before this run")
	bed.EditStatus(t, r, func() {
		r.Status.SnapshotCount = new(int32(5))
		r.Status.RecentSnapshots = []v1alpha1.SnapshotInfo{{Name: "snap", Phase: v1alpha1.SnapshotSucceeded}}
	})
	g.Eventually(count, testbed.Patience, testbed.Interval).Should(Equal(5.0), "the Repository has counted it")
}

// The watch of Snapshots can be behind that of runs. What is pushed for a run is never repaired.
func TestAPushOfASuccessWaitsForItsSnapshots(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	r, snapshot := backedUp(t, namespace, 5, v1alpha1.SnapshotRunning)
	bed.EditStatus(t, r, func() {
		r.Status.RecentSnapshots = []v1alpha1.SnapshotInfo{{Name: "snap", Phase: v1alpha1.SnapshotRunning}}
	})
	job := "backupconfiguration-" + namespace + "-files"
	success := func() float64 { return pushed(job, "stash_backup_target_success") }
	g.Consistently(success, "1500ms", "100ms").Should(Equal(-1.0), "0 would be the failure of a run that succeeded")
	bed.EditStatus(t, snapshot, func() { snapshot.Status.Phase = v1alpha1.SnapshotSucceeded })
	g.Eventually(success, testbed.Patience, testbed.Interval).Should(Equal(1.0), "the target succeeded")
}

// Another target of the run failed. This one succeeded, and its Snapshot is a moment behind in the cache.
func TestAPushOfAFailureWaitsForItsSnapshots(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	r, snapshot := backedUpBy(t, namespace, 0, v1alpha1.SnapshotRunning, v1alpha1.BackupSessionFailed)
	knows := func(phase v1alpha1.SnapshotPhase) {
		bed.EditStatus(t, r, func() {
			r.Status.RecentSnapshots = []v1alpha1.SnapshotInfo{{Name: "snap", Phase: phase}}
		})
	}
	knows(v1alpha1.SnapshotRunning)
	job := "backupconfiguration-" + namespace + "-files"
	success := func() float64 { return pushed(job, "stash_backup_target_success") }
	g.Consistently(success, "1500ms", "100ms").Should(Equal(-1.0), "0 would be the failure of a target that succeeded")
	bed.EditStatus(t, snapshot, func() { snapshot.Status.Phase = v1alpha1.SnapshotSucceeded })
	knows(v1alpha1.SnapshotSucceeded)
	g.Eventually(success, testbed.Patience, testbed.Interval).Should(Equal(1.0), "the target succeeded")
}

func TestARefusedPushIsAnEventAfterThreeTries(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	s := endedRun(t, namespace, refused, "one", 5, v1alpha1.BackupSessionSucceeded)
	g.Eventually(refusals.Load, testbed.Patience, testbed.Interval).Should(BeNumerically("==", 1), "the first try")
	bed.Edit(t, s, func() { s.Labels = map[string]string{"touched": "x"} })
	g.Consistently(refusals.Load, "2s", "100ms").
		Should(BeNumerically("==", 1), "writes to a run do not use up its tries")
	g.Eventually(func() []string { return events.Of(namespace) }, testbed.Patience, testbed.Interval).Should(ConsistOf(
		And(HavePrefix("Warning MetricsNotPushed push metrics of backupconfiguration-"+namespace+"-refused:"),
			ContainSubstring("507"),
			HaveSuffix("The metrics of this run are lost, its data is not"))), "one event reports it")
	g.Expect(refusals.Load()).To(BeNumerically("==", attempts))
	g.Expect(bed.Writes(namespace)).To(BeEmpty(), "the run is unchanged")
}
