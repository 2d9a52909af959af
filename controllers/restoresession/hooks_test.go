package restoresession

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// hooked creates a restore with hooks before and after it, which report to l. l hears of the mover, too.
func (w *world) hooked(l *sessiontest.Listener, name string, edit ...func(*v1alpha1.RestoreHooks)) {
	w.T.Helper()
	hooks := w.RestoreHooks(l)
	for _, e := range edit {
		e(hooks)
	}
	w.restore(name, func(s *v1alpha1.RestoreSession) { s.Spec.Hooks = hooks })
}

// drive reconciles and lets the cluster work until the restore has ended and is released. Hooks take their time.
func (w *world) drive(name string) *v1alpha1.RestoreSession {
	w.T.Helper()
	s := &v1alpha1.RestoreSession{}
	w.Eventually(func() bool {
		w.Reconcile(name)
		w.Cluster()
		w.Get(name, s)
		return s.Status.Phase.Terminal() && !controllerutil.ContainsFinalizer(s, v1alpha1.FinalizerCancel)
	}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).Should(BeTrue(), "the restore ends")
	return s
}

func TestHooksRunAroundARestoreWithTheManagerKilled(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) (*world, *sessiontest.Listener) {
		w := newWorld(t)
		l := sessiontest.Listen(t)
		w.Killer = killer
		w.hooked(l, "restore")
		return w, l
	}
	want := []string{"stop restore Running", "restore", "start restore Succeeded"}
	undisturbed := &sessiontest.Killer{}
	w, l := start(t, undisturbed)
	s := w.drive("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(l.Heard()).To(Equal(want))
	w.Expect(s.Status.Hooks.PostHooks).
		To(HaveExactElements(HaveField("Phase", v1alpha1.HookSucceeded), HaveField("Phase", v1alpha1.HookSkipped)))
	w.Expect(s.Status.Conditions).To(ContainElements(
		And(HaveField("Type", "PreRestoreHooksExecutionSucceeded"),
			HaveField("Reason", "SuccessfullyExecutedPreRestoreHooks")),
		And(HaveField("Type", "PostRestoreHooksExecutionSucceeded"),
			HaveField("Reason", "SuccessfullyExecutedPostRestoreHooks"))))
	w.Expect(w.stamp()).NotTo(BeEmpty())
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := start(t, killer)
			w.Expect(ending(w.drive("restore"))).To(Equal("Succeeded/Succeeded"))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(slices.Compact(l.Heard())).To(Equal(want))
			w.Expect(w.Jobs()).To(HaveLen(1))
		})
	}
}

func TestAFailingHookFailsARestore(t *testing.T) {
	t.Parallel()
	for path, tt := range map[string]struct {
		ending string
		heard  []string
	}{
		"/stop": {
			"Failed/FailedToExecutePreRestoreHooks",
			[]string{"stop restore Running", "start restore Failed", "tell restore Failed"},
		},
		"/start": {
			"Failed/FailedToExecutePostRestoreHooks",
			[]string{"stop restore Running", "restore", "start restore Succeeded"},
		},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := sessiontest.Listen(t)
			l.Answer = sessiontest.Refuse(path, 500)
			w.hooked(l, "restore")
			s := w.drive("restore")
			w.Expect(ending(s)).To(Equal(tt.ending))
			w.Expect(l.Heard()).To(Equal(tt.heard))
			w.Expect(w.stamp()).To(BeEmpty(), "an identical restore must not report success")
		})
	}
}

func TestADeletedRestoreRunsItsPostHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.hooked(l, "restore")
	w.Eventually(func() []string {
		w.Reconcile("restore")
		w.Cluster()
		return slices.Compact(l.Heard())
	}).WithTimeout(testbed.Patience).Should(Equal([]string{"stop restore Running", "restore"}), "the mover works")
	w.Expect(w.Client.Delete(t.Context(), w.session("restore"))).To(Succeed())
	s := w.drive("restore")
	w.Expect(ending(s)).To(Equal("Failed/Cancelled"))
	w.Expect(slices.Compact(l.Heard())).
		To(Equal([]string{"stop restore Running", "restore", "start restore Failed", "tell restore Failed"}))
}

// A mover hangs, and its Job can't be deleted: the application is started all the same, and the mover may not write.
func TestTheHooksOfARestoreDoNotWaitForADeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.Client = interceptor.NewClient(w.Client, interceptor.Funcs{Delete: func(
		ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption,
	) error {
		if _, job := o.(*batchv1.Job); job {
			return testbed.Denied(http.StatusForbidden)
		}
		return c.Delete(ctx, o, opts...)
	}})
	w.hooked(l, "restore")
	w.Eventually(func() []string {
		w.Reconcile("restore")
		w.Cluster()
		return slices.Compact(l.Heard())
	}).WithTimeout(testbed.Patience).Should(Equal([]string{"stop restore Running", "restore"}), "the mover works")
	w.Clock.SetTime(w.Clock.Now().Add(2 * time.Hour))
	s := w.drive("restore")
	w.Expect(ending(s)).To(Equal("Failed/DeadlineExceeded"))
	w.Expect(l.Heard()).To(ContainElements("start restore Failed", "tell restore Failed"))
	w.Expect(s.Annotations[v1alpha1.AnnotationMovers]).To(BeEmpty())
	w.Expect(w.EventReasons()).To(ContainElement(v1alpha1.ReasonDeletionRefused))
}

func TestARestoreWithoutItsHookTemplateDoesNotStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("restore", func(s *v1alpha1.RestoreSession) {
		s.Spec.Hooks = &v1alpha1.RestoreHooks{PreRestore: []v1alpha1.HookInfo{sessiontest.UseTemplate("none")}}
	})
	w.Reconcile("restore")
	w.Expect(ending(w.session("restore"))).To(Equal("Pending/HookTemplateNotFound"))
	w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
	w.Expect(ending(w.drive("restore"))).To(Equal("Invalid/HookTemplateNotFound"))
}
