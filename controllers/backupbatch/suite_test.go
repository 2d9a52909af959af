package backupbatch

import (
	"context"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/backupconfiguration"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

const patience = time.Minute

var (
	bed        testbed.Bed
	reconciler *Reconciler
	events     testbed.Events
	now        = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
)

// The children's own controller runs too: it tells the batch how they are.
func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, func(mgr ctrl.Manager) error {
		clock := clocktesting.NewFakePassiveClock(now)
		access := func(context.Context, string) error { return nil }
		reconciler = &Reconciler{
			Client: mgr.GetClient(), EventRecorder: &events, APIReader: mgr.GetAPIReader(), Scheme: mgr.GetScheme(),
			Clock: clock, MoverImage: "mover:test", FieldManager: "cairn-manager", EnsureTrigger: access,
		}
		if err := reconciler.SetupWithManager(mgr, controller.Options{}); err != nil {
			return err
		}
		return (&backupconfiguration.Reconciler{
			Client: mgr.GetClient(), EventRecorder: &testbed.Events{}, APIReader: mgr.GetAPIReader(), Scheme: mgr.GetScheme(),
			Clock: clock, MoverImage: "mover:test", FieldManager: "cairn-manager", EnsureTrigger: access,
		}).SetupWithManager(mgr, controller.Options{})
	}))
}

// namespaceWith makes a namespace with a storage that is ready and volumes.
func namespaceWith(t testing.TB, claims ...string) string {
	t.Helper()
	namespace := bed.Namespace(t, nil)
	storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Name: "s3", Namespace: namespace}}
	storage.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderS3, S3: &v1alpha1.S3Storage{Bucket: "backups", SecretName: "s3"}}
	bed.Create(t, storage)
	bed.EditStatus(t, storage, func() {
		conditions.MarkTrue(storage, meta.ReadyCondition, v1alpha1.ReasonReady, "ready")
		storage.Status.Phase = v1alpha1.PhaseReady
	})
	for _, name := range claims {
		bed.Create(t, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		})
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
			Name: name, Backend: "main", Directory: "/shop/" + name, EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
		}},
	})
}

func childOf(batch *v1alpha1.BackupBatch, target string) *v1alpha1.BackupConfiguration {
	return &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{
		Namespace: batch.Namespace, Name: policy.ChildName(batch.Name, target),
	}}
}

// working makes a batch of the volumes "web" and "db" that is Ready.
func working(t testing.TB) *v1alpha1.BackupBatch {
	t.Helper()
	batch := batchOf(namespaceWith(t, "web", "db"), "web", "db")
	bed.Create(t, batch)
	makeRepositoriesReady(t, batch.Namespace, "web", "db")
	expectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	return batch
}

// makeRepositoriesReady waits for Repositories and writes the status that their own controller writes in real life.
func makeRepositoriesReady(t testing.TB, namespace string, names ...string) {
	t.Helper()
	for _, name := range names {
		repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		eventually(t, repository, func(Gomega) {}, "the child's controller makes the Repository")
		bed.EditStatus(t, repository, func() {
			conditions.MarkTrue(repository, meta.ReadyCondition, v1alpha1.ReasonReady, "ready")
			repository.Status.Phase = v1alpha1.PhaseReady
		})
	}
}

// eventually reads the object until the expectations hold.
func eventually(t testing.TB, object client.Object, expect func(g Gomega), reason string) {
	t.Helper()
	NewWithT(t).Eventually(func(g Gomega) {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
		expect(g)
	}, patience, 50*time.Millisecond).Should(Succeed(), reason)
}

// expectReason waits until the batch's Ready condition has the reason.
func expectReason(t testing.TB, batch *v1alpha1.BackupBatch, phase, reason, message string) {
	t.Helper()
	eventually(t, batch, func(g Gomega) {
		g.Expect(batch.Status.ObservedGeneration).To(Equal(batch.Generation))
		g.Expect(conditions.GetReason(batch, meta.ReadyCondition)).To(Equal(reason), "%+v", batch.Status)
		g.Expect(conditions.GetMessage(batch, meta.ReadyCondition)).To(ContainSubstring(message))
		g.Expect(batch.Status.Phase).To(Equal(phase))
	}, reason)
}

func params(raw string) *apiextensionsv1.JSON { return &apiextensionsv1.JSON{Raw: []byte(raw)} }
