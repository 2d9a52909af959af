package controllers_test

import (
	"fmt"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/sessiontest"
)

// world is a namespace in which the manager's controllers are driven by hand.
type world struct {
	*sessiontest.World
	// prunes are the records of Snapshots that a Ledger would keep, by name: why each went.
	prunes map[string][]string
	// every is after how many of its writes a manager is killed that follows a killed one; zero is never.
	every int
	// wrote is how often managers wrote since they may be killed, and killed how often they were.
	wrote, killed int
	// spare are the controllers at whose writes no manager is killed, and spared is how often they wrote.
	spare  []string
	spared int
}

// newWorld is one in which the manager has the controllers of these names alone.
func newWorld(t testing.TB, controllers ...string) *world {
	t.Helper()
	w := &world{prunes: map[string][]string{}}
	w.World = bed.World(t, func(of *sessiontest.World) reconcile.Reconciler {
		manager := started(of, controllers)
		manager.spare, manager.spared = w.spare, &w.spared
		return manager
	})
	bed.MarkReady(t, &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: w.Storage, Name: sessiontest.StorageName}})
	return w
}

// kills says when managers are killed: the first after so many writes, its successors after so many of theirs. The last
// write of each reaches the API server, and it does not learn so.
type kills struct{ first, every int }

// disturb kills managers from now on.
func (w *world) disturb(k kills) {
	w.every, w.wrote = k.every, 0
	w.Killer = &sessiontest.Killer{At: k.first, Written: true}
}

// settle lets manager and cluster work until there is nothing more to do for either.
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
	w.T.Fatal("it does not come to rest")
}

// killedAnywhere runs a work undisturbed, whose end must be as expected, and then with the manager killed after each of its
// writes: the end must be the same. With a period, which spares runs where there are many writes, further managers of each run
// are killed after so many writes of theirs. It must be longer than the longest work that a manager begins anew.
func killedAnywhere(t *testing.T, period int, run func(*testing.T, kills) (*world, any), expect func(g Gomega, end any)) {
	t.Helper()
	undisturbed, want := run(t, kills{})
	g := NewWithT(t)
	expect(g, want)
	t.Logf("%d writes", undisturbed.wrote)
	runs := undisturbed.wrote
	if period > 0 {
		runs = min(runs, period)
	}
	for n := range runs {
		k := kills{first: n + 1, every: period}
		t.Run(fmt.Sprintf("after write %d", k.first), func(t *testing.T) {
			t.Parallel()
			w, got := run(t, k)
			least := 1
			if period > 0 {
				least = (undisturbed.wrote - k.first) / period
			}
			w.Expect(w.killed).To(BeNumerically(">=", least), "the manager was killed")
			w.Expect(got).To(Equal(want))
		})
	}
}

// collect is the garbage collector: what is owned goes after its owner.
func (w *world) collect() (changed int) {
	w.T.Helper()
	for _, list := range []client.ObjectList{
		&v1alpha1.BackupConfigurationList{}, &v1alpha1.BackupSessionList{}, &v1alpha1.SnapshotList{}, &batchv1.CronJobList{},
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
				w.Expect(client.IgnoreNotFound(w.Client.Delete(w.T.Context(), o, client.GracePeriodSeconds(0), client.PropagationPolicy(metav1.DeletePropagationBackground)))).To(Succeed())
				changed++
			}
		}
	}
	return changed
}

// ledger records what ends, as the finalizer asks for.
func (w *world) ledger() (changed int) {
	w.T.Helper()
	for _, list := range []client.ObjectList{&v1alpha1.SnapshotList{}, &v1alpha1.BackupSessionList{}} {
		for _, o := range listed(w.T.Context(), w.World, list) {
			if o.GetDeletionTimestamp().IsZero() || !slices.Equal(o.GetFinalizers(), []string{v1alpha1.FinalizerRecord}) {
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
