package backupconfiguration

import (
	"context"
	"os"
	"sync"
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
	"github.com/cairn-backup/cairn/internal/testbed"
)

const patience = time.Minute

var (
	bed        testbed.Bed
	reconciler *Reconciler
	access     accessLog
	events     testbed.Events
	now        = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
)

// accessLog notes the namespaces in which the trigger's account was asked for.
type accessLog struct {
	mu         sync.Mutex
	namespaces map[string]bool
}

func (a *accessLog) ensure(_ context.Context, namespace string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.namespaces == nil {
		a.namespaces = map[string]bool{}
	}
	a.namespaces[namespace] = true
	return nil
}

func (a *accessLog) has(namespace string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.namespaces[namespace]
}

func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, func(mgr ctrl.Manager) error {
		reconciler = &Reconciler{
			Client: mgr.GetClient(), EventRecorder: &events, APIReader: mgr.GetAPIReader(), Scheme: mgr.GetScheme(),
			Clock: clocktesting.NewFakePassiveClock(now), MoverImage: "mover:test", FieldManager: "cairn-manager", EnsureTrigger: access.ensure,
		}
		return reconciler.SetupWithManager(mgr, controller.Options{})
	}))
}

// readyStorage makes a storage that is ready, open to all namespaces.
func readyStorage(t testing.TB, namespace, name string) *v1alpha1.BackupStorage {
	t.Helper()
	all := v1alpha1.NamespacesFromAll
	storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	storage.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderS3, S3: &v1alpha1.S3Storage{Bucket: "backups", SecretName: "s3"}}
	storage.Spec.UsagePolicy = &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: &all}}
	bed.Create(t, storage)
	markReady(t, storage)
	return storage
}

// markReady writes the status that another controller writes in real life.
func markReady(t testing.TB, object conditions.Setter) {
	t.Helper()
	bed.EditStatus(t, object, func() {
		conditions.MarkTrue(object, meta.ReadyCondition, v1alpha1.ReasonReady, "ready")
		switch o := object.(type) {
		case *v1alpha1.BackupStorage:
			o.Status.Phase, o.Status.ObservedGeneration = v1alpha1.PhaseReady, o.Generation
		case *v1alpha1.Repository:
			o.Status.Phase, o.Status.ObservedGeneration = v1alpha1.PhaseReady, o.Generation
		}
	})
}

func claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

// configurationOf is a configuration that can work once the claim "uploads" and the storage "s3" are there.
func configurationOf(namespace string) *v1alpha1.BackupConfiguration {
	configuration := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "uploads", Namespace: namespace}}
	configuration.Spec = v1alpha1.BackupConfigurationSpec{
		Target:   &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"},
		Backends: []v1alpha1.BackendReference{{Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: "s3"}}},
		Sessions: []v1alpha1.BackupConfigurationSession{sessionOf("nightly", "0 2 * * *")},
	}
	return configuration
}

func sessionOf(name, line string) v1alpha1.BackupConfigurationSession {
	return v1alpha1.BackupConfigurationSession{
		SessionConfig: v1alpha1.SessionConfig{Name: name, Scheduler: &v1alpha1.SchedulerSpec{Schedule: line}},
		Addon: &v1alpha1.AddonInfo{Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{
			Name: "logical-backup", Params: &apiextensionsv1.JSON{Raw: []byte(`{"exclude":"*.tmp"}`)},
		}}},
		Repositories: []v1alpha1.RepositoryInfo{{
			Name: "uploads", Backend: "main", Directory: "/shop/uploads", EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
		}},
	}
}

// working makes a namespace with a configuration that is Ready.
func working(t testing.TB) *v1alpha1.BackupConfiguration {
	t.Helper()
	namespace := bed.Namespace(t, nil)
	readyStorage(t, namespace, "s3")
	configuration := configurationOf(namespace)
	bed.Create(t, claim(namespace, "uploads"), configuration)
	makeRepositoryReady(t, namespace, "uploads")
	eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Phase).To(Equal(v1alpha1.PhaseReady), "%+v", configuration.Status)
	}, "everything is there")
	return configuration
}

// makeRepositoryReady waits for a Repository and writes the status that its own controller writes in real life.
func makeRepositoryReady(t testing.TB, namespace, name string) {
	t.Helper()
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	eventually(t, repository, func(Gomega) {}, "the controller makes the Repository")
	markReady(t, repository)
}

// eventually reads the object until the expectations hold.
func eventually(t testing.TB, object client.Object, expect func(g Gomega), reason string) {
	t.Helper()
	NewWithT(t).Eventually(func(g Gomega) {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
		expect(g)
	}, patience, 50*time.Millisecond).Should(Succeed(), reason)
}

// expectReady waits until the configuration's Ready condition has the reason.
func expectReason(t testing.TB, configuration *v1alpha1.BackupConfiguration, phase, reason, message string) {
	t.Helper()
	eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.ObservedGeneration).To(Equal(configuration.Generation))
		g.Expect(conditions.GetReason(configuration, meta.ReadyCondition)).To(Equal(reason), "%+v", configuration.Status.Conditions)
		g.Expect(conditions.GetMessage(configuration, meta.ReadyCondition)).To(ContainSubstring(message))
		g.Expect(configuration.Status.Phase).To(Equal(phase))
	}, reason)
}
