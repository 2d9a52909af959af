package restoresession

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

var bed testbed.Bed

// TestMain starts an API server. Most tests drive the reconciler by hand, so there is no manager.
func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.WithCatalog()))
}

// world is a namespace with an empty claim and a repository with Snapshots, in which tests drive restores by hand.
type world struct{ *sessiontest.World }

var uploads = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{sessiontest.New(t, &bed, func(w *sessiontest.World) reconcile.Reconciler { return reconciler(w) })}
	sessiontest.Create(t, w.Client,
		sessiontest.Repository(w.Namespace, "uploads", w.Storage, uploads),
		sessiontest.Claim(w.Namespace, "target"),
		w.newSnapshot("first", v1alpha1.SnapshotSucceeded, 1, "pvc"),
		w.newSnapshot("second", v1alpha1.SnapshotSucceeded, 2, "pvc"),
		w.newSnapshot("third", v1alpha1.SnapshotFailed, 3, "pvc"),
		w.newSnapshot("pods", v1alpha1.SnapshotSucceeded, 0, "pod-0", "pod-1"),
	)
	return w
}

func (w *world) newSnapshot(
	name string, phase v1alpha1.SnapshotPhase, hour int, components ...string,
) *v1alpha1.Snapshot {
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: name,
			Labels: map[string]string{v1alpha1.LabelRepository: "uploads"},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: name, Repository: "uploads", Session: "nightly", BackupSession: "run",
			Version: v1alpha1.SnapshotLayoutVersion, AppRef: uploads,
		},
		Status: v1alpha1.SnapshotStatus{
			Phase:        phase,
			SnapshotTime: &metav1.Time{Time: time.Date(2026, 7, 1, hour, 0, 0, 0, time.UTC)},
			Components:   map[string]v1alpha1.Component{},
		},
	}
	for _, c := range components {
		s.Status.Components[c] = v1alpha1.Component{
			Phase: phase, Driver: v1alpha1.DriverKopia, ID: "k-" + name + "-" + c,
		}
	}
	return s
}

// restore creates a RestoreSession of the newest Snapshot into the claim target.
func (w *world) restore(name string, edit ...func(*v1alpha1.RestoreSession)) {
	w.T.Helper()
	s := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:         &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "target"},
			DataSource:     &v1alpha1.RestoreDataSource{Repository: "uploads", Snapshot: v1alpha1.LatestSnapshot},
			RestoreTimeout: &metav1.Duration{Duration: time.Hour},
		},
	}
	for _, e := range edit {
		e(s)
	}
	sessiontest.Create(w.T, w.Client, s)
}

func reconciler(w *sessiontest.World) *Reconciler {
	return &Reconciler{
		Client: w.Killer.Client(w.Client), APIReader: w.Client, EventRecorder: w.Events,
		Clock: w.Clock, MoverImage: "mover:test", ClusterUID: "cluster", FieldManager: "cairn-manager",
		Hooks: sessiontest.Hooks(w, bed.Config),
	}
}

// forget deletes an ended RestoreSession, and plays the garbage collector and the ledger's collector.
func (w *world) forget(name string) {
	w.T.Helper()
	s := w.session(name)
	for _, job := range w.Jobs() {
		if metav1.IsControlledBy(&job, s) {
			bed.Edit(w.T, &job, func() { job.Finalizers = nil })
			background := client.PropagationPolicy(metav1.DeletePropagationBackground)
			w.Expect(w.Client.Delete(w.T.Context(), &job, background)).To(Succeed())
		}
	}
	before := s.DeepCopy()
	s.Finalizers = nil
	w.Expect(w.Client.Patch(w.T.Context(), s, client.MergeFrom(before))).To(Succeed(), "the spec has what a test omits")
	w.Expect(client.IgnoreNotFound(w.Client.Delete(w.T.Context(), s))).To(Succeed())
}

// settle reconciles and lets the cluster work until the restore has ended.
func (w *world) settle(name string) *v1alpha1.RestoreSession {
	w.T.Helper()
	s := &v1alpha1.RestoreSession{}
	w.Settle(name, s, func() bool { return s.Status.Phase.Terminal() })
	return s
}

func (w *world) session(name string) *v1alpha1.RestoreSession {
	w.T.Helper()
	s := &v1alpha1.RestoreSession{}
	w.Get(name, s)
	return s
}

// stamp returns the digest that the claim target carries.
func (w *world) stamp() string {
	w.T.Helper()
	var claim corev1.PersistentVolumeClaim
	w.Get("target", &claim)
	return restore.ParseStamp(claim.Annotations[v1alpha1.AnnotationRestored]).Digest
}

func ending(s *v1alpha1.RestoreSession) string {
	return string(s.Status.Phase) + "/" + s.Status.Reason
}
