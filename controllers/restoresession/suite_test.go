package restoresession

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/sessiontest"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var bed testbed.Bed

// shared is the client of all tests, without a cache.
var shared = sync.OnceValue(func() client.WithWatch {
	c, err := client.NewWithWatch(bed.Manager.GetConfig(), client.Options{Scheme: testbed.Scheme()})
	if err != nil {
		panic(err)
	}
	return c
})

// TestMain starts an API server. Most tests drive the reconciler by hand, so the manager runs no controller.
func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, func(ctrl.Manager) error { return nil }))
}

// world is a namespace with an empty claim, a repository with Snapshots, and a reconciler that is driven by hand.
type world struct {
	*WithT
	t         testing.TB
	namespace string
	storage   string
	clock     *clocktesting.FakePassiveClock
	client    client.WithWatch
	events    *record.FakeRecorder
	killer    *sessiontest.Killer
	outcome   func(*batchv1.Job) sessiontest.Outcome
}

var uploads = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		WithT: NewWithT(t), t: t, namespace: bed.Namespace(t, nil), storage: bed.Namespace(t, nil),
		clock: clocktesting.NewFakePassiveClock(time.Now()), client: shared(), events: record.NewFakeRecorder(1000),
		killer: &sessiontest.Killer{}, outcome: sessiontest.Succeed,
	}
	sessiontest.Storage(t, w.client, w.storage, w.namespace)
	sessiontest.Create(t, w.client,
		sessiontest.Repository(w.namespace, "uploads", w.storage, uploads),
		sessiontest.Claim(w.namespace, "target"),
		w.newSnapshot("first", v1alpha1.SnapshotSucceeded, 1, "pvc"),
		w.newSnapshot("second", v1alpha1.SnapshotSucceeded, 2, "pvc"),
		w.newSnapshot("third", v1alpha1.SnapshotFailed, 3, "pvc"),
		w.newSnapshot("pods", v1alpha1.SnapshotSucceeded, 0, "pod-0", "pod-1"),
	)
	return w
}

func (w *world) newSnapshot(name string, phase v1alpha1.SnapshotPhase, hour int, components ...string) *v1alpha1.Snapshot {
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{v1alpha1.LabelRepository: "uploads"}},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: name, Repository: "uploads", Session: "nightly", BackupSession: "run", Version: v1alpha1.SnapshotLayoutVersion, AppRef: uploads,
		},
		Status: v1alpha1.SnapshotStatus{
			Phase:        phase,
			SnapshotTime: &metav1.Time{Time: time.Date(2026, 7, 1, hour, 0, 0, 0, time.UTC)},
			Components:   map[string]v1alpha1.Component{},
		},
	}
	for _, c := range components {
		s.Status.Components[c] = v1alpha1.Component{Phase: phase, Driver: v1alpha1.DriverKopia, ID: "k-" + name + "-" + c}
	}
	return s
}

// restore makes a RestoreSession of the newest Snapshot into the claim target.
func (w *world) restore(name string, edit ...func(*v1alpha1.RestoreSession)) {
	w.t.Helper()
	s := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:         &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "target"},
			DataSource:     &v1alpha1.RestoreDataSource{Repository: "uploads", Snapshot: v1alpha1.LatestSnapshot},
			RestoreTimeout: &metav1.Duration{Duration: time.Hour},
		},
	}
	for _, e := range edit {
		e(s)
	}
	sessiontest.Create(w.t, w.client, s)
}

// reconcile once, with a new reconciler. A killed manager is started again by the next call.
func (w *world) reconcile(name string) ctrl.Result {
	w.t.Helper()
	r := &Reconciler{
		Client: w.killer.Client(w.client), APIReader: w.client, EventRecorder: w.events,
		Clock: w.clock, MoverImage: "mover:test", ClusterUID: "cluster", FieldManager: "cairn-manager",
	}
	result, err := r.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.namespace, Name: name}})
	if w.killer.Dead() {
		w.Expect(errors.Is(err, sessiontest.ErrKilled)).To(BeTrue(), "a killed manager reports nothing else: %v", err)
		w.killer = &sessiontest.Killer{}
		return result
	}
	w.Expect(err).NotTo(HaveOccurred())
	return result
}

// settle reconciles and lets the cluster work until the restore ended.
func (w *world) settle(name string) *v1alpha1.RestoreSession {
	w.t.Helper()
	for range 50 {
		w.reconcile(name)
		sessiontest.Cluster(w.t, w.client, w.namespace, w.outcome)
		if s := w.session(name); s.Status.Phase.Terminal() && !slices.Contains(s.Finalizers, v1alpha1.FinalizerCancel) {
			return s
		}
	}
	w.t.Fatalf("%s did not end: %+v", name, w.session(name).Status)
	return nil
}

func (w *world) session(name string) *v1alpha1.RestoreSession {
	w.t.Helper()
	s := &v1alpha1.RestoreSession{}
	w.Expect(w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, s)).To(Succeed())
	return s
}

func (w *world) jobs() []batchv1.Job { return sessiontest.Jobs(w.t, w.client, w.namespace) }

// stamp is the digest that the claim target carries.
func (w *world) stamp() string {
	w.t.Helper()
	var claim corev1.PersistentVolumeClaim
	w.Expect(w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "target"}, &claim)).To(Succeed())
	return claim.Annotations[v1alpha1.AnnotationRestored]
}

// told are the reasons of the events so far, in order.
func (w *world) told() []string {
	var out []string
	for {
		select {
		case e := <-w.events.Events:
			out = append(out, strings.Fields(e)[1])
		default:
			return out
		}
	}
}

func ending(s *v1alpha1.RestoreSession) string {
	return string(s.Status.Phase) + "/" + s.Status.Reason
}
