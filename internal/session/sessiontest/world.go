package sessiontest

import (
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// World is a namespace with a storage in another one, and a reconciler that is driven by hand.
type World struct {
	*gomega.WithT
	// T is the test whose world it is.
	T testing.TB
	// Namespace of the test, and that of its storage.
	Namespace, Storage string
	// Clock of the reconciler.
	Clock *clocktesting.FakePassiveClock
	// Client without a cache.
	Client client.WithWatch
	// Events that were emitted and not yet looked at.
	Events *record.FakeRecorder
	// Killer of the reconciler.
	Killer *Killer
	// Outcome of each Job.
	Outcome func(*batchv1.Job) Outcome
	// CSI makes volumes and VolumeSnapshots. Nil: nobody does.
	CSI *CSI

	reconciler func(*World) reconcile.Reconciler
}

// World makes a world in which reconciler makes the reconciler under test: a new one for each look, as after a restart, so
// that nothing that it remembers can matter.
func (b *Bed) World(t testing.TB, reconciler func(*World) reconcile.Reconciler) *World {
	t.Helper()
	w := &World{
		WithT: gomega.NewWithT(t), T: t, Namespace: b.Namespace(t, nil), Storage: b.Namespace(t, nil),
		Clock: clocktesting.NewFakePassiveClock(time.Now()), Client: b.connected(), Events: record.NewFakeRecorder(1000),
		Killer: &Killer{}, Outcome: Succeed, reconciler: reconciler,
	}
	Storage(t, w.Client, w.Storage, w.Namespace)
	return w
}

// Reconcile looks once at the session of this name. A killed manager is started again by the next call.
func (w *World) Reconcile(name string) ctrl.Result {
	w.T.Helper()
	result, err := w.reconciler(w).Reconcile(w.T.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: name}})
	if w.Killer.Dead() {
		w.Expect(err).To(gomega.MatchError(ErrKilled), "a killed manager reports nothing else")
		w.Killer = &Killer{}
		return result
	}
	w.Expect(err).NotTo(gomega.HaveOccurred())
	return result
}

// Settle reconciles the session of this name and lets the cluster work until it has ended, as ended says of s, which is
// read into, and was let go.
func (w *World) Settle(name string, s client.Object, ended func() bool) {
	w.T.Helper()
	for range 50 {
		w.Reconcile(name)
		w.Cluster()
		w.Get(name, s)
		if ended() && !controllerutil.ContainsFinalizer(s, v1alpha1.FinalizerCancel) {
			return
		}
	}
	w.T.Fatalf("%s did not end: %+v", name, s)
}

// Get reads the object of this name into o.
func (w *World) Get(name string, o client.Object) {
	w.T.Helper()
	w.Expect(w.Client.Get(w.T.Context(), client.ObjectKey{Namespace: w.Namespace, Name: name}, o)).To(gomega.Succeed())
}

// Cluster lets the cluster work once: see the function of this name.
func (w *World) Cluster() int {
	w.T.Helper()
	changed := Cluster(w.T, w.Client, w.Namespace, w.Outcome)
	if w.CSI != nil {
		w.CSI.work(w.T, w.Client, w.Namespace)
	}
	return changed
}

// Jobs of the namespace.
func (w *World) Jobs() []batchv1.Job {
	w.T.Helper()
	return Jobs(w.T, w.Client, w.Namespace)
}

// Told are the reasons of the events since the last call, in order.
func (w *World) Told() []string {
	var out []string
	for {
		select {
		case e := <-w.Events.Events:
			out = append(out, strings.Fields(e)[1])
		default:
			return out
		}
	}
}
