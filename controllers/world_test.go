package controllers_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// world is a namespace in which a test drives the manager's controllers by hand.
type world struct {
	*sessiontest.World
	// prunes are the records of Snapshots that a Ledger would keep: the reasons of their removal, by name.
	prunes map[string][]string
	// every is the number of writes after which a manager is killed that follows a killed one; zero means never.
	every int
	// wrote counts the writes of managers since the kills began, killed the kills.
	wrote, killed int
	// spare names the controllers at whose writes no manager is killed, and spared counts those writes.
	spare  []string
	spared int
}

// newWorld returns a world whose manager runs only the named controllers.
func newWorld(t testing.TB, controllers ...string) *world {
	t.Helper()
	w := &world{prunes: map[string][]string{}}
	w.World = sessiontest.New(t, &bed, func(of *sessiontest.World) reconcile.Reconciler {
		manager := started(of, controllers)
		manager.spare, manager.spared = w.spare, &w.spared
		return manager
	})
	bed.MarkReady(t,
		&v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: w.Storage, Name: sessiontest.StorageName}})
	return w
}

// kills says when managers are killed: the first after this many writes, its successors after this many of theirs. The
// last write of each reaches the API server, but the manager does not learn so.
type kills struct{ first, every int }

// disturb kills managers from now on.
func (w *world) disturb(k kills) {
	w.every, w.wrote = k.every, 0
	w.Killer = &sessiontest.Killer{At: k.first, Written: true}
}

// settle lets manager and cluster work until neither has anything left to do.
func (w *world) settle() {
	w.T.Helper()
	for range 150 {
		killer, before, spared := w.Killer, w.Killer.Count(), w.spared
		w.Reconcile("")
		wrote := killer.Count() - before
		w.wrote += wrote - (w.spared - spared)
		changed := w.Cluster()
		if wrote == 0 {
			changed += w.collect() + w.ledger()
		}
		switch {
		case killer.Dead():
			w.killed++
			w.Killer = &sessiontest.Killer{At: w.every, Written: true}
		case wrote+changed == 0:
			return
		}
	}
	w.T.Fatal("the world does not come to rest")
}

// killedAnywhere runs a work undisturbed, which must end as expected, and then again with the manager killed after each
// of its writes: the end must be the same. With a period, which saves runs if there are many writes, further managers
// of each run are killed after that many of their own writes. The period must be longer than the longest work that a
// manager begins again.
func killedAnywhere(
	t *testing.T, period int, run func(*testing.T, kills) (*world, any), expect func(g Gomega, end any),
) {
	t.Helper()
	undisturbed, want := run(t, kills{})
	g := NewWithT(t)
	expect(g, want)
	t.Logf("%d writes", undisturbed.wrote)
	runs := undisturbed.wrote
	if period > 0 {
		runs = min(runs, period)
	}
	var spared atomic.Int32
	t.Cleanup(func() {
		if n := spared.Load(); n > 1 {
			t.Errorf("%d runs made fewer writes than they had to, and none of their managers was killed", n)
		}
	})
	for n := range runs {
		k := kills{first: n + 1, every: period}
		t.Run(fmt.Sprintf("after write %d", k.first), func(t *testing.T) {
			t.Parallel()
			w, got := run(t, k)
			// A look that fails because the API server is busy writes nothing, and the next one writes for both.
			least, wrote := 0, min(w.wrote, undisturbed.wrote)
			switch {
			case wrote < k.first:
				spared.Add(1)
			case period > 0:
				least = (wrote - k.first) / period
			default:
				least = 1
			}
			w.Expect(w.killed).To(BeNumerically(">=", least), "the manager was killed")
			w.Expect(got).To(Equal(want))
		})
	}
}

// collect plays the garbage collector: it deletes owned objects after their owner.
func (w *world) collect() (changed int) {
	w.T.Helper()
	for _, list := range []client.ObjectList{
		&v1alpha1.BackupConfigurationList{}, &v1alpha1.BackupSessionList{}, &v1alpha1.SnapshotList{},
		&batchv1.CronJobList{},
		&batchv1.JobList{}, &corev1.PodList{}, &corev1.SecretList{},
	} {
		for _, o := range listed(w.T.Context(), w.World, list) {
			owner := metav1.GetControllerOf(o)
			if owner == nil || !o.GetDeletionTimestamp().IsZero() {
				continue
			}
			is := &unstructured.Unstructured{}
			is.SetAPIVersion(owner.APIVersion)
			is.SetKind(owner.Kind)
			err := w.Client.Get(w.T.Context(), client.ObjectKey{Namespace: w.Namespace, Name: owner.Name}, is)
			w.Expect(client.IgnoreNotFound(err)).To(Succeed())
			if apierrors.IsNotFound(err) || is.GetUID() != owner.UID {
				w.Expect(client.IgnoreNotFound(w.Client.Delete(w.T.Context(), o, client.GracePeriodSeconds(0),
					client.PropagationPolicy(metav1.DeletePropagationBackground)))).To(Succeed())
				changed++
			}
		}
	}
	return changed
}

// ledger records ended objects, as their finalizer asks for.
func (w *world) ledger() (changed int) {
	w.T.Helper()
	for _, list := range []client.ObjectList{&v1alpha1.SnapshotList{}, &v1alpha1.BackupSessionList{}} {
		for _, o := range listed(w.T.Context(), w.World, list) {
			if o.GetDeletionTimestamp().IsZero() ||
				!slices.Equal(o.GetFinalizers(), []string{v1alpha1.FinalizerRecord}) {
				continue
			}
			if s, ok := o.(*v1alpha1.Snapshot); ok {
				w.prunes[s.Name] = append(w.prunes[s.Name], conditions.GetReason(s, v1alpha1.ConditionRetained))
			}
			o.SetFinalizers(nil)
			w.Expect(w.Client.Update(w.T.Context(), o)).To(Succeed())
			changed++
		}
	}
	return changed
}
