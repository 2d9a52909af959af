package keeper_test

import (
	"context"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/retention"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

const year = 365 * 24 * time.Hour

// A clock that jumped a year ahead makes every Snapshot too old. It must not decide.
func TestAWrongClockRemovesNothing(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	snapshots := []*v1alpha1.Snapshot{
		s.snapshot(s.repository, 1, good), s.snapshot(s.repository, 2, good), s.snapshot(s.repository, 3, good),
	}
	s.policy("c", v1alpha1.RetentionPolicySpec{MaxRetentionPeriod: "30d"}, "web")
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, "")

	serverTime, err := read.ServerTime(bed.Config)
	g.Expect(err).NotTo(HaveOccurred())
	ahead := clocktesting.NewFakePassiveClock(time.Now().Add(year))
	wrong := &retention.Reconciler{
		Client: bed.Manager.GetClient(), EventRecorder: &events, APIReader: bed.Manager.GetAPIReader(), Clock: ahead,
		FieldManager: "cairn-manager", ServerTime: serverTime, Stopwatch: func() time.Duration { return 2 * time.Hour },
	}
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s.repository)}
	expectNothingRemoved := func(why string) {
		t.Helper()
		g.Eventually(func(g Gomega) {
			result, err := wrong.Reconcile(t.Context(), request)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(result.RequeueAfter).To(Equal(5*time.Minute), why)
		}, "10s", "50ms").Should(Succeed(), why)
		for _, snapshot := range snapshots {
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(snapshot), snapshot)).To(Succeed())
			g.Expect(snapshot.DeletionTimestamp).To(BeNil(), why)
			g.Expect(snapshot.Spec.DeletionPolicy).NotTo(Equal(v1alpha1.WipeOut), why)
		}
	}
	expectNothingRemoved("only the manager's clock jumped")
	events.Eventually(t, s.namespace, ContainElement(HavePrefix("Warning ClockSkew nothing is removed: ")))

	// The API server's clock jumped too: the manager notices that its own did not run like a stopwatch.
	ahead.SetTime(time.Now())
	wrong.ServerTime = func(context.Context) (time.Time, error) { return ahead.Now(), nil }
	g.Eventually(func() error { _, err := wrong.Reconcile(t.Context(), request); return err }).Should(Succeed())
	ahead.SetTime(time.Now().Add(year))
	expectNothingRemoved("both clocks jumped")

	ahead.SetTime(time.Now())
	wrong.Stopwatch = func() time.Duration { return 4 * time.Hour }
	_, _ = wrong.Reconcile(t.Context(), request)
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, "")
}

// Snapshots from before carry the times of the movers' nodes: one a year ahead must not push out the others, and one a
// year back must not go at once.
func TestStoredTimesOfWrongClocksDecideNothing(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	slot := func(hours int) func(*v1alpha1.Snapshot) {
		return func(o *v1alpha1.Snapshot) {
			o.Spec.SnapshotID = backup.SnapshotID(now.Now().Add(-time.Duration(hours)*time.Hour), o.Name)
		}
	}
	said := func(o *v1alpha1.Snapshot, hours int, off time.Duration) *v1alpha1.Snapshot {
		bed.EditStatus(t, o, func() {
			ended := metav1.NewTime(now.Now().Add(-time.Duration(hours)*time.Hour + time.Minute))
			o.Status.LastUpdateTime = &ended
			o.Status.SnapshotTime = new(metav1.NewTime(ended.Add(off)))
		})
		bed.Cached(t, o)
		return o
	}
	ahead := said(s.snapshot(s.repository, 4, good, slot(4)), 4, year)
	behind := said(s.snapshot(s.repository, 1, good, slot(1)), 1, -year)
	right := said(s.snapshot(s.repository, 2, good, slot(2)), 2, 0)
	s.policy("c", v1alpha1.RetentionPolicySpec{
		MaxRetentionPeriod: "30d", SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{Last: new(int32(2))},
	}, "web")
	bed.Eventually(t, ahead, func(g Gomega) { g.Expect(ahead.DeletionTimestamp).NotTo(BeNil()) },
		"it is the oldest of three, whatever its mover said")
	for _, o := range []*v1alpha1.Snapshot{behind, right} {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
		g.Expect(o.DeletionTimestamp).To(BeNil())
		g.Expect(conditions.Has(o, v1alpha1.ConditionRetained)).To(BeFalse())
	}
}
