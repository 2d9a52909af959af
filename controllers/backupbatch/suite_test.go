package backupbatch

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/backupconfiguration"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var (
	bed        testbed.Bed
	reconciler *Reconciler
	events     testbed.Events
	lists      batchLists
	now        = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
)

// The children's own controller runs too: it gives the batch the state of its children.
func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.WithCatalog(), testbed.AsManager(), testbed.WithControllers(func(
		mgr ctrl.Manager,
	) error {
		clock := clocktesting.NewFakePassiveClock(now)
		access := func(context.Context, string) error { return nil }
		lists.Reader = mgr.GetAPIReader()
		reconciler = &Reconciler{
			Client: mgr.GetClient(), EventRecorder: &events, APIReader: &lists,
			Clock: clock, MoverImage: "mover:test", FieldManager: "cairn-manager", EnsureTrigger: access,
		}
		if err := reconciler.SetupWithManager(mgr, controller.Options{}); err != nil {
			return err
		}
		return (&backupconfiguration.Reconciler{
			Client: mgr.GetClient(), EventRecorder: &testbed.Events{}, APIReader: mgr.GetAPIReader(),
			Clock: clock, MoverImage: "mover:test", FieldManager: "cairn-manager", EnsureTrigger: access,
		}).SetupWithManager(mgr, controller.Options{})
	})))
}

// batchLists counts the lists of whole BackupBatches.
type batchLists struct {
	client.Reader
	mu sync.Mutex
	in map[string]int
}

func (l *batchLists) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, ok := list.(*v1alpha1.BackupBatchList); ok {
		all := client.ListOptions{}
		all.ApplyOptions(opts)
		l.mu.Lock()
		if l.in == nil {
			l.in = map[string]int{}
		}
		l.in[all.Namespace]++
		l.mu.Unlock()
	}
	return l.Reader.List(ctx, list, opts...)
}

// of returns how many lists a namespace had.
func (l *batchLists) of(namespace string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in[namespace]
}

// namespaceWith creates a namespace with a ready storage and volumes.
func namespaceWith(t testing.TB, claims ...string) string {
	t.Helper()
	namespace := bed.Namespace(t, nil)
	bed.ReadyStorage(t, namespace)
	for _, name := range claims {
		bed.Create(t, testbed.Claim(namespace, name))
	}
	return namespace
}

func batchOf(namespace string, targets ...string) *v1alpha1.BackupBatch {
	batch := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: namespace}}
	batch.Spec.Backends = []v1alpha1.BackendReference{{Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: "s3"}}}
	batch.Spec.Sessions = []v1alpha1.BackupBatchSession{{SessionConfig: v1alpha1.SessionConfig{
		Name: "hourly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "17 * * * *"},
	}}}
	for _, name := range targets {
		addTarget(batch, name)
	}
	return batch
}

func addTarget(batch *v1alpha1.BackupBatch, name string) {
	batch.Spec.Targets = append(batch.Spec.Targets, v1alpha1.BatchTarget{
		Name: name, AppRef: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: name},
	})
	session := &batch.Spec.Sessions[0]
	session.Targets = append(session.Targets, v1alpha1.BatchSessionTarget{
		Name:  name,
		Addon: &v1alpha1.AddonInfo{Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}}},
		Repositories: []v1alpha1.RepositoryInfo{{
			Name: name, Backend: "main", Directory: "/shop/" + name,
			EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
		}},
	})
}

func childOf(batch *v1alpha1.BackupBatch, target string) *v1alpha1.BackupConfiguration {
	return &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{
		Namespace: batch.Namespace, Name: policy.ChildName(batch.Name, target),
	}}
}

// working creates a batch of the volumes "web" and "db" and waits until it is Ready.
func working(t testing.TB) *v1alpha1.BackupBatch {
	t.Helper()
	batch := batchOf(namespaceWith(t, "web", "db"), "web", "db")
	bed.Create(t, batch)
	bed.ReadyRepositories(t, batch.Namespace, "web", "db")
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	return batch
}

func params(raw string) *apiextensionsv1.JSON { return &apiextensionsv1.JSON{Raw: []byte(raw)} }
