package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// reconcileStale reconciles the run once through a stale cache.
func (w *world) reconcileStale(s *v1alpha1.BackupSession, cache sessiontest.Stale) ctrl.Result {
	w.T.Helper()
	r := reconciler(w.World)
	cache.Client = r.Client
	r.Client = cache
	result, err := r.Reconcile(w.T.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)})
	w.Expect(err).NotTo(HaveOccurred())
	return result
}

func TestAStaleCacheFreezesNothingTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Killer = &sessiontest.Killer{At: 2}
	w.Reconcile("run") // This adopts the run and does not freeze it.
	stale := w.session("run")
	w.Reconcile("run")
	frozen := w.session("run")

	result := w.reconcileStale(stale, sessiontest.Stale{Old: []client.Object{stale}})
	w.Expect(result.RequeueAfter).To(Equal(oneshot.RetryAfterConflict))
	w.Expect(w.session("run")).To(Equal(frozen))
}

// What a run needs can have been applied together with what starts it.
func TestAStaleCacheFailsNoRun(t *testing.T) {
	t.Parallel()
	for name, cache := range map[string]func(old *v1alpha1.BackupConfiguration) sessiontest.Stale{
		"that does not show the Addon": func(*v1alpha1.BackupConfiguration) sessiontest.Stale {
			return sessiontest.Stale{None: []client.Object{&v1alpha1.Addon{}, &v1alpha1.Function{}}}
		},
		"that does not show the session": func(old *v1alpha1.BackupConfiguration) sessiontest.Stale {
			old.Spec.Sessions[0].Name = "older"
			return sessiontest.Stale{Old: []client.Object{old}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			old := w.configuration().DeepCopy()
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.reconcileStale(w.session("run"), cache(old))
			w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
		})
	}
}

// The Snapshot of another run has the name, and only the API server knows.
func TestAStaleCacheTakesNoSnapshotOfAnotherRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	sessiontest.Create(t, w.Client, &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads-run"},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "other", Repository: "uploads", Session: "nightly", BackupSession: "earlier", AppRef: uploads,
			Version: v1alpha1.SnapshotLayoutVersion,
		},
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	for range 3 {
		w.reconcileStale(w.session("run"), sessiontest.Stale{None: []client.Object{&v1alpha1.Snapshot{}}})
	}
	w.Expect(summary(w.session("run"))[0]).To(Equal("Failed/NameConflict"))
	w.Expect(w.Jobs()).To(BeEmpty())
}

func TestAStaleCacheMakesNoJobOfAnEndedRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	stale, snap := w.session("run"), w.snapshot("uploads-run")
	w.Reconcile("run")
	w.deleteJobs()
	w.Reconcile("run")
	ended := w.session("run")
	w.Expect(summary(ended)[0]).To(Equal("Failed/JobVanished"))

	result := w.reconcileStale(stale, sessiontest.Stale{Old: []client.Object{stale, snap}})
	w.Expect(result.RequeueAfter).To(Equal(oneshot.RetryAfterConflict))
	w.Expect(w.Jobs()).To(BeEmpty(), "an ended run backs up nothing")
	w.Expect(w.session("run")).To(Equal(ended))
}

func TestAJobThatTheCacheDoesNotShow(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *world {
		w := newWorld(t)
		w.configuration()
		w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
		w.Reconcile("run")
		return w
	}
	t.Run("has not vanished", func(t *testing.T) {
		t.Parallel()
		w := start(t)
		w.Reconcile("run")
		before := w.session("run")
		w.reconcileStale(before, sessiontest.Stale{NoJobs: true})
		w.Expect(w.session("run")).To(Equal(before))
		w.Expect(w.Jobs()).To(HaveLen(1))
	})
	t.Run("is not given up because no other may be made", func(t *testing.T) {
		t.Parallel()
		w := start(t)
		w.revokeStorage()
		before := w.session("run")
		w.reconcileStale(before, sessiontest.Stale{NoJobs: true})
		w.Expect(w.session("run")).To(Equal(before))
		w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"))
	})
	t.Run("is deleted before the run is cancelled", func(t *testing.T) {
		t.Parallel()
		w := start(t)
		w.Expect(w.Client.Delete(t.Context(), w.session("run"))).To(Succeed())
		w.reconcileStale(w.session("run"), sessiontest.Stale{NoJobs: true})
		w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionRunning))
		w.Expect(w.Jobs()).To(HaveEach(HaveField("DeletionTimestamp", Not(BeNil()))))
		w.Expect(summary(w.settle("run"))[0]).To(Equal("Failed/Cancelled"))
		w.Expect(w.Jobs()).To(BeEmpty())
	})
}

// deleteJobs deletes all Jobs, as somebody does with kubectl.
func (w *world) deleteJobs() {
	w.T.Helper()
	for _, job := range w.Jobs() {
		w.Expect(w.Client.Delete(w.T.Context(), &job, client.PropagationPolicy(metav1.DeletePropagationBackground))).
			To(Succeed())
	}
}

// revokeStorage denies the storage to other namespaces.
func (w *world) revokeStorage() {
	w.T.Helper()
	storage := &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Storage, Name: sessiontest.StorageName},
	}
	bed.Edit(w.T, storage, func() { storage.Spec.UsagePolicy = nil })
}
