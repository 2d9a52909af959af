package restorebatch

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// hooked creates a restore with hooks around all targets, which report to l. l hears of the movers, too.
func (w *world) hooked(l *sessiontest.Listener, edit ...func(*v1alpha1.RestoreBatch)) {
	w.T.Helper()
	hooks := w.RestoreHooks(l)
	w.restore("back", append(edit, func(b *v1alpha1.RestoreBatch) { b.Spec.Hooks = hooks })...)
}

// drive reconciles and lets the cluster work until the restore has ended and is released. Hooks take their time.
func (w *world) drive() *v1alpha1.RestoreBatch {
	w.T.Helper()
	b := &v1alpha1.RestoreBatch{}
	w.Eventually(func() bool {
		w.Reconcile("back")
		w.Cluster()
		w.Get("back", b)
		return b.Status.Phase.Terminal() && !controllerutil.ContainsFinalizer(b, v1alpha1.FinalizerCancel)
	}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).Should(BeTrue(), "the restore ends")
	return b
}

// The hooks run once around all targets, wherever the manager is killed.
func TestHooksRunAroundAllTargetsWithTheManagerKilled(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) (*world, *sessiontest.Listener) {
		w := newWorld(t)
		l := sessiontest.Listen(t)
		w.Killer = killer
		w.hooked(l)
		return w, l
	}
	want := []string{"stop back Running", "restore", "start back Succeeded"}
	undisturbed := &sessiontest.Killer{}
	w, l := start(t, undisturbed)
	b := w.drive()
	w.Expect(summary(b)).To(Equal(whole("second")))
	w.Expect(slices.Compact(l.Heard())).To(Equal(want))
	w.Expect(b.Status.Hooks.PostHooks).
		To(HaveExactElements(HaveField("Phase", v1alpha1.HookSucceeded), HaveField("Phase", v1alpha1.HookSkipped)))
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := start(t, killer)
			w.Expect(summary(w.drive())).To(Equal(whole("second")))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(slices.Compact(l.Heard())).To(Equal(want))
			w.Expect(w.Jobs()).To(HaveLen(3))
		})
	}
}

func TestAFailingHookFailsARestoreBatch(t *testing.T) {
	t.Parallel()
	for path, tt := range map[string]struct {
		reason   string
		heard    []string
		children int
	}{
		"/stop": {
			v1alpha1.ReasonFailedToExecutePreRestoreHooks,
			[]string{"stop back Running", "start back Failed", "tell back Failed"},
			0,
		},
		"/start": {
			v1alpha1.ReasonFailedToExecutePostRestoreHooks,
			[]string{"stop back Running", "restore", "start back Succeeded"},
			3,
		},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := sessiontest.Listen(t)
			l.Answer = sessiontest.Refuse(path, 500)
			w.hooked(l)
			b := w.drive()
			w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
			w.Expect(b.Status.Reason).To(Equal(tt.reason))
			w.Expect(slices.Compact(l.Heard())).To(Equal(tt.heard))
			w.Expect(w.children()).To(HaveLen(tt.children))
		})
	}
}

// A GitOps tool makes a RestoreBatch again, under its name, whose targets all have their data. A hook that stops or
// empties something would meet the live application, and nothing would be restored after it.
func TestARestoreBatchThatRestoresNothingRunsNoHook(t *testing.T) {
	t.Parallel()
	for name, scaled := range map[string]bool{"scaled": true, "not scaled": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := sessiontest.Listen(t)
			if scaled {
				w.gone(w.deployment("kubectl"))
				w.hooked(l, scalesWeb)
			} else {
				w.hooked(l)
			}
			b := w.drive()
			w.Expect(summary(b)).To(Equal(whole("second")))
			heard := l.Heard()
			w.again(b)
			w.Expect(summary(w.drive())).To(Equal([]string{"Skipped/AlreadyRestored of "}))
			w.Expect(l.Heard()).To(Equal(heard))
		})
	}
}

// Its movers would find the data, but only after the hooks have met it.
func TestARestoreBatchOfAnotherNameRunsNoHookUnconfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	hooks := w.RestoreHooks(l)
	hooked := func(b *v1alpha1.RestoreBatch) { b.Spec.Hooks = hooks }
	w.restore("march", hooked)
	w.Eventually(func() []string { return summary(w.settle("march")) }).Should(Equal(whole("second")))
	heard := l.Heard()
	w.restore("back", hooked)
	w.Expect(summary(w.drive())).To(Equal([]string{"Invalid/ConfirmationMissing of "}))
	w.Expect(l.Heard()).To(Equal(heard))
}

// dbReady makes the only pod of the database ready, or not.
func (w *world) dbReady(ready bool) {
	w.T.Helper()
	slice := &discoveryv1.EndpointSlice{}
	w.Get("db", slice)
	bed.Edit(w.T, slice, func() { slice.Endpoints[0].Conditions.Ready = &ready })
}

// While a database restarts, nobody knows whether it was filled before: the RestoreBatch waits, and touches nothing.
func TestARestoreBatchWaitsForItsDatabase(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		again, want string
		back        bool // within the minute that it waits
	}{
		"it comes back":                         {"back", "Skipped/AlreadyRestored of ", true},
		"it comes back, under another name":     {"again", "Invalid/ConfirmationMissing of ", true},
		"it stays away, and nothing is written": {"back", "Failed/TargetNotReady of ", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gone(w.deployment("kubectl"))
			l := sessiontest.Listen(t)
			w.hooked(l, w.database(), scalesWeb)
			b := w.drive()
			w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
			heard, generation := l.Heard(), w.generation()

			w.dbReady(false)
			w.forget("back")
			w.restore(tt.again, func(again *v1alpha1.RestoreBatch) { again.Spec = *b.Spec.DeepCopy() })
			for range 3 {
				w.Reconcile(tt.again)
				w.Cluster()
			}
			if tt.back {
				w.dbReady(true)
			} else {
				w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
			}
			w.Expect(summary(w.settle(tt.again))[0]).To(Equal(tt.want))
			w.Expect(l.Heard()).To(Equal(heard))
			w.Expect(w.generation()).To(Equal(generation), "nothing is scaled")
		})
	}
}

// The database is not ready at the moment at which its restore ends, as after a heavy load: its stamp proves nothing.
func TestNoHookMeetsADatabaseThatNobodySawAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	l := sessiontest.Listen(t)
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.TaskOf(job).RestoreSession.Name == "back-db" {
			w.dbReady(false)
		}
		return kubelet.Succeed(job)
	}
	w.hooked(l, w.database(), scalesWeb)
	b := w.drive()
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
	w.dbReady(true)
	heard, generation := l.Heard(), w.generation()
	w.again(b)
	w.Expect(summary(w.drive())).To(Equal([]string{"Invalid/ConfirmationMissing of "}))
	w.Expect(l.Heard()).To(Equal(heard))
	w.Expect(w.generation()).To(Equal(generation), "nothing is scaled")
}
