package sessiontest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// World is a namespace with a BackupStorage in another one, and a reconciler that the test calls directly.
type World struct {
	*gomega.WithT
	// T is the test that the World belongs to.
	T testing.TB
	// Namespace is that of the test, and Storage that of its BackupStorage.
	Namespace, Storage string
	// Clock is the clock of the reconciler.
	Clock *clocktesting.FakePassiveClock
	// Client has no cache.
	Client client.WithWatch
	// Events holds the emitted events that EventReasons has not returned yet.
	Events *record.FakeRecorder
	// Killer is that of the reconciler.
	Killer *Killer
	// Outcome returns how a Job ends.
	Outcome func(*batchv1.Job) kubelet.Outcome
	// CSI makes volumes and VolumeSnapshots. Nil means that nothing makes them.
	CSI *csi.Driver

	reconciler func(*World) reconcile.Reconciler
}

// New creates a World. It calls reconciler before each reconcile, as after a restart, so the result can't depend on
// anything that a reconciler remembers.
func New(t testing.TB, bed *testbed.Bed, reconciler func(*World) reconcile.Reconciler) *World {
	t.Helper()
	w := &World{
		WithT: gomega.NewWithT(t), T: t, Namespace: bed.Namespace(t, nil), Storage: bed.Namespace(t, nil),
		Clock: clocktesting.NewFakePassiveClock(time.Now()), Client: bed.Client,
		Events: record.NewFakeRecorder(1000),
		Killer: &Killer{}, Outcome: kubelet.Succeed, reconciler: reconciler,
	}
	Storage(t, w.Client, w.Storage, w.Namespace)
	return w
}

// Reconcile reconciles the object with this name once. The next call starts a killed manager again.
func (w *World) Reconcile(name string) ctrl.Result {
	w.T.Helper()
	result, err := w.reconciler(w).Reconcile(w.T.Context(), ctrl.Request{
		NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: name},
	})
	if w.Killer.Dead() {
		w.Expect(err).To(gomega.MatchError(ErrKilled), "a killed manager reports nothing else")
		w.Killer = &Killer{}
		return result
	}
	w.Expect(err).NotTo(gomega.HaveOccurred())
	return result
}

// Logged reconciles the object with this name once, and returns the lines of its log that have the message.
func (w *World) Logged(name, message string) []string {
	w.T.Helper()
	return w.LoggedAt(0, name, message)
}

// LoggedAt returns the same as Logged, up to a level.
func (w *World) LoggedAt(level int, name, message string) []string {
	w.T.Helper()
	ctx, lines := w.Record(level, message)
	_, err := w.reconciler(w).Reconcile(ctx, ctrl.Request{
		NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: name},
	})
	w.Expect(err).NotTo(gomega.HaveOccurred())
	return *lines
}

// Record returns the context of the test with a log that adds the lines that have the message, up to a level, to lines.
func (w *World) Record(level int, message string) (ctx context.Context, lines *[]string) {
	return loglines.Record(w.T.Context(), level, message)
}

// Settle reconciles the object with this name and runs the cluster until ended returns true and the finalizer
// FinalizerCancel is gone. It reads the object into s before each call of ended.
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

// Get reads the object with this name into o.
func (w *World) Get(name string, o client.Object) {
	w.T.Helper()
	w.Expect(w.Client.Get(w.T.Context(), client.ObjectKey{Namespace: w.Namespace, Name: name}, o)).To(gomega.Succeed())
}

// Cluster lets the kubelet and the CSI driver do what there is to do. It returns how many Jobs changed.
func (w *World) Cluster() int {
	w.T.Helper()
	w.bindClaims()
	changed, err := kubelet.Kubelet{Client: w.Client, Namespace: w.Namespace, Outcome: w.Outcome}.Step(w.T.Context())
	must(w.T, err)
	if w.CSI != nil {
		w.CSI.Step(w.T, w.Client, w.Namespace)
	}
	return changed
}

// bindClaims gives the claims of Jobs their volumes. Where there is a CSI driver, it does that.
func (w *World) bindClaims() {
	w.T.Helper()
	if w.CSI != nil {
		return
	}
	for _, job := range w.Jobs() {
		for _, v := range job.Spec.Template.Spec.Volumes {
			claim := &corev1.PersistentVolumeClaim{}
			if v.PersistentVolumeClaim == nil || w.Client.Get(w.T.Context(), client.ObjectKey{
				Namespace: w.Namespace, Name: v.PersistentVolumeClaim.ClaimName,
			}, claim) != nil || claim.Spec.DataSource != nil { // the storage system makes that one
				continue
			}
			Bind(w.T, w.Client, claim)
		}
	}
}

// Jobs returns the Jobs of the namespace.
func (w *World) Jobs() []batchv1.Job {
	w.T.Helper()
	var list batchv1.JobList
	must(w.T, w.Client.List(w.T.Context(), &list, client.InNamespace(w.Namespace)))
	return list.Items
}

// EventReasons returns the reasons of the events since the last call, in order.
func (w *World) EventReasons() []string {
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
