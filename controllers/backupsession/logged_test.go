package backupsession

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func TestARefusedSnapshotIsLoggedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	w.Expect(w.refusedAgain(v1alpha1.BackupBatchKind, "shop", "shop-uploads-run")).To(
		ConsistOf(ContainSubstring("shop-uploads-run")))
	w.Expect(summary(w.session("run"))).To(ContainElement("uploads: Failed/NameConflict"))
}

func TestARefusedSnapshotIsLoggedOnceBesideAnotherOfItsTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoRepositories()
	w.Expect(w.refusedAgain(v1alpha1.BackupConfigurationKind, "uploads", "second-run")).To(
		ConsistOf(ContainSubstring("second-run")))
}

// refusedAgain runs a policy twice under one name. The first run leaves only one Snapshot, which stands in the way of
// the second, and the first write of the end of a target fails. It returns the lines that say what was refused.
func (w *world) refusedAgain(kind, name, left string) []string {
	w.T.Helper()
	ctx := w.T.Context()
	w.run(kind, name, "run")
	first := w.settle("run")
	first.Finalizers = nil
	w.Expect(w.Client.Update(ctx, first)).To(Succeed())
	w.Expect(w.Client.Delete(ctx, first)).To(Succeed())
	for _, s := range w.snapshots() {
		if s.Name != left {
			s.Finalizers = nil
			w.Expect(w.Client.Update(ctx, &s)).To(Succeed())
			w.Expect(client.IgnoreNotFound(w.Client.Delete(ctx, &s))).To(Succeed())
		}
	}
	w.deleteJobs()

	logged, refused := w.Record(0, "refused")
	r, writes := reconciler(w.World), 0
	r.Client = interceptor.NewClient(indexed(w.Client), interceptor.Funcs{SubResourcePatch: func(
		ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch,
		opts ...client.SubResourcePatchOption,
	) error {
		if session, ok := o.(*v1alpha1.BackupSession); ok && slices.ContainsFunc(session.Status.Targets, hasEnded) {
			if writes++; writes == 1 {
				return apierrors.NewServiceUnavailable("the API server restarts")
			}
		}
		return c.SubResource(sub).Patch(ctx, o, patch, opts...)
	}})
	looks := 0
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if looks < 5 {
			return kubelet.Outcome{Hang: true}
		}
		return kubelet.Succeed(job)
	}
	w.run(kind, name, "run")
	s := w.session("run")
	for ; !s.Status.Phase.Terminal(); looks++ {
		w.Expect(looks).To(BeNumerically("<", 50), "the run ends")
		_, err := r.Reconcile(logged, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)})
		w.Expect(err).To(Or(BeNil(), MatchError(apierrors.IsServiceUnavailable, "IsServiceUnavailable")))
		w.Cluster()
		s = w.session("run")
	}
	w.Expect(writes).To(BeNumerically(">", 1), "a write failed")
	w.Expect(looks).To(BeNumerically(">", 5), "the others went on for several looks")
	return *refused
}

// A Repository can go when the run has begun. Then nothing of the target is left to look at but the log: its end can
// have another reason, or come later.
func TestARefusedSnapshotIsLoggedBeforeItsTargetEnds(t *testing.T) {
	t.Parallel()
	t.Run("its hooks after the backup run", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.batch(w.hooksOn(sessiontest.Listen(t), "uploads"))
		w.run(v1alpha1.BackupBatchKind, "shop", "run")
		w.Expect(w.refusedWithout("shop-uploads", nil)).To(ConsistOf(ContainSubstring("shop-uploads-run")))
		w.Expect(summary(w.session("run"))).To(ContainElement("uploads: Failed/RepositoryNotReady"))
	})
	t.Run("the mover of its other repository hangs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.twoRepositories()
		w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
		w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
		w.Expect(w.refusedWithout("second", func(look int) {
			if look == 5 {
				w.Clock.SetTime(w.Clock.Now().Add(48 * time.Hour))
			}
		})).To(ConsistOf(ContainSubstring("second-run")))
		w.Expect(summary(w.session("run"))).To(ContainElement("uploads: Failed/DeadlineExceeded"))
	})
}

// refusedWithout freezes the run, removes a Repository, and takes the run to its end. It returns the lines that say
// what was refused. The first write of the end is answered too late.
func (w *world) refusedWithout(name string, each func(look int)) []string {
	w.T.Helper()
	ctx := w.T.Context()
	w.Killer = &sessiontest.Killer{At: 3}
	w.Reconcile("run") // freezes it
	gone := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name}}
	w.Expect(w.Client.Get(ctx, client.ObjectKeyFromObject(gone), gone)).To(Succeed())
	gone.Finalizers = nil
	w.Expect(w.Client.Update(ctx, gone)).To(Succeed())
	w.Expect(client.IgnoreNotFound(w.Client.Delete(ctx, gone))).To(Succeed())

	logged, refused := w.Record(0, "refused")
	r, late := reconciler(w.World), false
	r.Client = interceptor.NewClient(indexed(w.Client), interceptor.Funcs{SubResourcePatch: func(
		ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch,
		opts ...client.SubResourcePatchOption,
	) error {
		err := c.SubResource(sub).Patch(ctx, o, patch, opts...)
		if s, ok := o.(*v1alpha1.BackupSession); ok && s.Status.Phase.Terminal() && err == nil && !late {
			late = true
			return apierrors.NewTimeoutError("the answer is late", 1)
		}
		return err
	}})
	look := 0
	w.Eventually(func(g Gomega) {
		if each != nil {
			each(look)
		}
		look++
		_, err := r.Reconcile(logged, ctrl.Request{
			NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"},
		})
		g.Expect(client.IgnoreNotFound(err)).To(Or(BeNil(), MatchError(apierrors.IsTimeout, "IsTimeout")))
		w.Cluster()
		g.Expect(w.session("run").Status.Phase.Terminal()).To(BeTrue())
	}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).Should(Succeed(), "the run ends")
	w.Expect(late).To(BeTrue(), "an answer was late")
	return *refused
}

// What becomes of a Snapshot after its target has ended is not a refusal.
func TestASnapshotOfATargetThatEndedIsNotLoggedAsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch()
	hangs := func(job *batchv1.Job) bool { return !strings.Contains(job.Labels[v1alpha1.LabelSnapshot], "uploads") }
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if hangs(job) {
			return kubelet.Outcome{Hang: true}
		}
		return kubelet.Succeed(job)
	}
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Eventually(func(g Gomega) {
		w.Reconcile("run")
		w.Cluster()
		g.Expect(summary(w.session("run"))).To(ContainElement("uploads: Succeeded/Succeeded"))
	}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).Should(Succeed(), "one target ends")
	s := w.snapshot("shop-uploads-run")
	bed.Edit(t, s, func() {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, v1alpha1.AnnotationRecord, "c")
	})
	w.Expect(w.Logged("run", "refused")).To(BeEmpty())
}

// The refusal of the cache is checked before it is logged.
func TestACacheThatIsBehindLogsNothingAsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Killer = &sessiontest.Killer{At: 3}
	w.Reconcile("run") // freezes it
	old := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "uploads-run"},
		Spec:       v1alpha1.SnapshotSpec{SnapshotID: "older", Repository: "uploads"},
	}
	logged, refused := w.Record(0, "refused")
	r := reconciler(w.World)
	r.Client = sessiontest.Stale{Client: r.Client, Old: []client.Object{old}}
	_, err := r.Reconcile(logged, ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "run"}})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(*refused).To(BeEmpty())
	w.Expect(w.snapshots()).To(HaveLen(1))
}

func hasEnded(t v1alpha1.BackupTargetStatus) bool { return t.Phase.Terminal() }
