package retention

import (
	"context"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// A node boots with a clock that is a year ahead: that of the API server and that of the manager, which has just
// started. The slots that seem to have passed begin a run at once. Its Snapshot must not lift the doubt about the clock
// that made it, also if the manager has been killed since.
func TestTheFirstBackupOfAWrongClockLiftsNoDoubt(t *testing.T) {
	t.Parallel()
	for name, fresh := range map[string]time.Duration{
		"before the first run": 0, "when the first run has begun": time.Minute, "after a restart": 10 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			was := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
			now := was.AddDate(1, 0, 0)
			s := &state{
				repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}},
				ref:        &v1alpha1.ObjectReference{Namespace: "shop", Name: "keep"},
				snapshots:  map[string]*v1alpha1.Snapshot{},
			}
			add := func(name string, at time.Time, phase v1alpha1.SnapshotPhase) {
				o := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(at),
				}}
				o.Spec.Repository, o.Status.Phase = "web", phase
				if phase.Terminal() {
					o.Status.SnapshotTime = &metav1.Time{Time: at}
				}
				s.snapshots[name] = o
			}
			add("web-1", was.Add(-26*time.Hour), v1alpha1.SnapshotSucceeded)
			add("web-2", was.Add(-2*time.Hour), v1alpha1.SnapshotSucceeded)
			if fresh > 0 {
				add("web-3", now.Add(-fresh), v1alpha1.SnapshotPending)
			}
			var input []retention.Snapshot
			for _, o := range s.snapshots {
				input = append(input, retention.FromSnapshot(o, ""))
			}
			s.verdicts = retention.Policy{MaxAge: 30 * 24 * time.Hour, Zone: time.UTC}.Decide(input, now)
			r := &Reconciler{
				APIReader:  fake.NewClientBuilder().WithScheme(scheme).Build(),
				Clock:      clocktesting.NewFakePassiveClock(now),
				ServerTime: func(context.Context) (time.Time, error) { return now, nil },
				Stopwatch:  func() time.Duration { return 2 * time.Minute },
			}
			_ = r.apply(t.Context(), s) // Without doubt it goes on, and fails for want of the Repository.
			g.Expect(s.doubt).To(ContainSubstring("waits an hour"))
		})
	}
}

// The clock of the manager is behind for a minute while a default is held. The jump has to be seen although nothing is
// removed.
func TestAClockThatIsBehindForAMinuteEndsNoNotice(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	noted := &v1alpha1.DefaultRetention{
		Ref: v1alpha1.ObjectReference{Namespace: "shop", Name: "keep"}, UID: "1",
		RemovesAfter: new(metav1.NewTime(now.Add(24 * time.Hour))),
	}
	s := &state{
		repository: &v1alpha1.Repository{}, ref: &noted.Ref, isDefault: true,
		letsGo: func() (bool, error) { return true, nil },
		spec:   &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{UID: "1"}},
	}
	s.repository.Status.DefaultRetention = noted
	clock, runs := clocktesting.NewFakePassiveClock(now), 2*time.Hour
	r := &Reconciler{
		Clock: clock, ServerTime: func(context.Context) (time.Time, error) { return now, nil },
		Stopwatch: func() time.Duration { return runs },
	}
	g.Expect(r.introduce(t.Context(), s)).To(Succeed())
	g.Expect(s.held).To(BeTrue())
	g.Expect(s.doubt).To(BeEmpty())

	clock.SetTime(now.AddDate(0, 0, -40))
	g.Expect(r.introduce(t.Context(), s)).To(Succeed())
	g.Expect(s.held).To(BeTrue())
	g.Expect(s.repository.Status.DefaultRetention).To(Equal(noted))
	result, err := r.enforce(t.Context(), s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(clockInterval))
	r.summarize(s.repository, s)
	g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionRetentionApplied)).To(
		Equal(v1alpha1.ReasonClockSkew))
	_, jumped := r.steadiness.Look(clock.Now(), runs)
	g.Expect(jumped).To(BeTrue())
}

// A node boots with a clock that is 40 days behind, that of the API server and that of the manager, and is put right a
// minute later. A default whose notice still has 20 hours to go must not lose them.
func TestANodeThatBootsWithAClockThatIsBehindEndsNoNotice(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct{ noted, snapshot, policy time.Time }{
		"the notice tells":                      {noted: now.Add(20 * time.Hour)},
		"another default, and a Snapshot tells": {snapshot: now.Add(-2 * time.Hour)},
		"another default, which tells":          {policy: now.Add(-2 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := &state{
				repository: &v1alpha1.Repository{}, isDefault: true, letsGo: func() (bool, error) { return true, nil },
				ref:       &v1alpha1.ObjectReference{Namespace: "shop", Name: "keep"},
				spec:      &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{UID: "1"}},
				snapshots: map[string]*v1alpha1.Snapshot{"web-1": {}},
			}
			s.spec.CreationTimestamp = metav1.NewTime(tt.policy)
			s.snapshots["web-1"].CreationTimestamp = metav1.NewTime(tt.snapshot)
			if !tt.noted.IsZero() {
				s.repository.Status.DefaultRetention = &v1alpha1.DefaultRetention{
					Ref: *s.ref, UID: "1", RemovesAfter: new(metav1.NewTime(tt.noted)),
				}
			}
			clock, runs := clocktesting.NewFakePassiveClock(now.AddDate(0, 0, -40)), time.Minute
			r := &Reconciler{
				Clock: clock, ServerTime: func(context.Context) (time.Time, error) { return clock.Now(), nil },
				Stopwatch: func() time.Duration { return runs },
			}
			look := func(at time.Time, ran time.Duration) {
				clock.SetTime(at)
				runs, s.doubt = ran, ""
				g.Expect(r.introduce(t.Context(), s)).To(Succeed())
				g.Expect(s.held).To(BeTrue())
			}
			look(now.AddDate(0, 0, -40), time.Minute)
			g.Expect(s.doubt).To(ContainSubstring("waits an hour"))
			look(now, 2*time.Minute)
			look(now.Add(2*time.Hour), 2*time.Hour+2*time.Minute) // and the hour of doubt is over
			g.Expect(s.repository.Status.DefaultRetention.RemovesAfter.Time).To(
				BeTemporally(">=", now.Add(20*time.Hour)))
		})
	}
}
