package backupsession

import (
	"context"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// keep makes the API server refuse to delete objects of a kind, and counts the tries.
func (w *world) keep(kind string) (tries *int) {
	w.T.Helper()
	tries = new(int)
	w.Client = interceptor.NewClient(w.Client, interceptor.Funcs{Delete: func(
		ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption,
	) error {
		if gvk, err := apiutil.GVKForObject(o, c.Scheme()); err == nil && gvk.Kind == kind {
			*tries++
			return testbed.Denied(http.StatusForbidden)
		}
		return c.Delete(ctx, o, opts...)
	}})
	return tries
}

// A policy that protects objects from being deleted must not keep an application frozen.
func TestAThawDoesNotWaitForACleanUp(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"PersistentVolumeClaim", "VolumeSnapshot", "Job"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l := sessiontest.Listen(t)
			w := copied(t, v1alpha1.CopySnapshot, func(c *v1alpha1.BackupConfiguration) {
				c.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{
					PreBackup:  []v1alpha1.HookInfo{sessiontest.UseTemplate("freeze")},
					PostBackup: []v1alpha1.HookInfo{sessiontest.UseTemplate("thaw")},
				}
			})
			sessiontest.Create(t, w.Client, l.Template(w.Namespace, "freeze", freezeBody),
				l.Template(w.Namespace, "thaw", thawBody))
			w.keep(kind)
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run", limited)
			s := w.drive("run")
			w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
			w.Expect(l.Heard()).To(HaveExactElements("freeze uploads Running", "thaw uploads Succeeded"))
			w.Expect(w.EventReasons()).To(ContainElement(v1alpha1.ReasonDeletionRefused))
		})
	}
}

// The mover hangs, and its Job can't be deleted when the deadline of the run has passed.
func TestAThawDoesNotWaitForAJobThatCannotBeDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := sessiontest.Listen(t)
	w.frozenDuring(l)
	w.Outcome = hang
	w.keep("Job")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Eventually(func() int {
		w.steps("run")
		return len(w.Jobs())
	}).WithTimeout(testbed.Patience).Should(Equal(1))
	w.Clock.SetTime(w.Clock.Now().Add(7 * time.Hour))
	w.Expect(summary(w.drive("run"))).
		To(Equal([]string{"Failed/DeadlineExceeded", "uploads: Failed/DeadlineExceeded"}))
	w.Expect(l.Heard()).To(HaveExactElements("freeze uploads Running", "thaw uploads Failed"))
	w.Expect(w.Jobs()).To(HaveLen(1))
	w.Expect(w.EventReasons()).To(ContainElement(v1alpha1.ReasonDeletionRefused))
}

// Two movers of a host must not read its volumes at once: no second attempt begins while the first one can't be
// deleted.
func TestASecondAttemptWaitsForTheDeletionOfTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	tries := w.keep("Job")
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	r := reconciler(w.World) // it remembers what another one does not
	steps := func(later time.Duration) {
		w.Clock.SetTime(w.Clock.Now().Add(later))
		for range 3 {
			_, err := r.Reconcile(t.Context(), ctrl.Request{
				NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"},
			})
			w.Expect(err).NotTo(HaveOccurred())
		}
	}
	steps(0)
	trouble{w, &w.Jobs()[0]}.pod(func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{waits(corev1.PodReady, corev1.ConditionUnknown, w.Clock.Now())}
	})
	steps(6 * time.Minute)
	w.Expect(*tries).To(Equal(1), "an event tries nothing")
	w.Expect(w.Jobs()).To(HaveLen(1))
	w.Expect(w.session("run").Status.Conditions).To(ContainElement(HaveField("Type", "CreationRefused")))
	steps(movers.DeletedAgain)
	w.Expect(*tries).To(Equal(2))
	steps(6 * time.Minute)
	w.Expect(summary(w.session("run"))).To(Equal([]string{"Failed/CreationRefused", "uploads: Failed/CreationRefused"}))
	w.Expect(w.Jobs()).To(HaveLen(1))
	w.Expect(w.EventReasons()).To(ContainElement(v1alpha1.ReasonCreationRefused))
}
