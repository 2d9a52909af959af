package restoresession

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func TestAStaleCache(t *testing.T) {
	t.Parallel()
	reconcile := func(ctx context.Context, w *world, cache sessiontest.Stale) time.Duration {
		r := reconciler(w.World)
		cache.Client = r.Client
		r.Client = cache
		result, err := r.Reconcile(ctx,
			ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "restore"}})
		w.Expect(err).NotTo(HaveOccurred())
		return result.RequeueAfter
	}
	t.Run("that does not show the end restores nothing twice", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("restore")
		w.Reconcile("restore")
		stale := w.session("restore")
		w.Reconcile("restore")
		job := w.Jobs()[0]
		w.Expect(w.Client.Delete(t.Context(), &job, client.PropagationPolicy(metav1.DeletePropagationBackground))).
			To(Succeed())
		w.Reconcile("restore")
		ended := w.session("restore")
		w.Expect(ending(ended)).To(Equal("Failed/JobVanished"))
		w.Expect(reconcile(t.Context(), w, sessiontest.Stale{Old: []client.Object{stale}})).
			To(Equal(oneshot.RetryAfterConflict))
		w.Expect(w.Jobs()).To(BeEmpty())
		w.Expect(w.session("restore")).To(Equal(ended))
	})
	t.Run("that does not show the Snapshot that was made last", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("restore")
		reconcile(t.Context(), w, sessiontest.Stale{NoSnapshots: true})
		w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"),
			"latest means the newest Snapshot of the API server, not of the cache")
	})
	t.Run("that does not show what is restored with", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("restore")
		reconcile(t.Context(), w, sessiontest.Stale{None: []client.Object{&v1alpha1.Addon{}, &v1alpha1.Function{}}})
		w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"),
			"it can have been applied together with the restore")
	})
	t.Run("that does not show the Job restores nothing twice", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
		w.restore("restore")
		w.Reconcile("restore")
		w.Cluster()
		ctx, refused := w.Record(0, "refused")
		reconcile(ctx, w, sessiontest.Stale{NoJobs: true})
		w.Expect(w.session("restore").Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning),
			"the pod that uses the claim belongs to the restore")
		w.Expect(w.Jobs()).To(HaveLen(1))
		w.Expect(*refused).To(BeEmpty(), "nothing was refused")
		w.Outcome = kubelet.Succeed
		w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
	})
}

// A restore ends in the same way, with one Job, if the manager is killed at any of its writes.
func TestKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	undisturbed := newWorld(t)
	killer := undisturbed.Killer
	undisturbed.restore("restore")
	want := ending(undisturbed.settle("restore"))
	writes := killer.Count()
	undisturbed.Expect(writes).To(BeNumerically(">", 7))
	for name, killer := range sessiontest.KillPoints(writes) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Killer = killer
			w.restore("restore")
			s := w.settle("restore")
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(ending(s)).To(Equal(want))
			w.Expect(w.Jobs()).To(HaveLen(1))
			w.Expect(w.stamp()).To(Equal(s.Status.Resolved.SpecDigest))
		})
	}
}
