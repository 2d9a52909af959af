package backupconfiguration

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
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var (
	bed        testbed.Bed
	reconciler *Reconciler
	accounts   accessLog
	events     testbed.Events
	now        = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
)

// accessLog records the namespaces in which the reconciler asked for the trigger's ServiceAccount.
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
	os.Exit(bed.Run(m, testbed.WithCatalog(), testbed.AsManager(), testbed.WithManifests(testbed.UserRoles),
		testbed.WithControllers(func(mgr ctrl.Manager) error {
			reconciler = &Reconciler{
				Client: mgr.GetClient(), EventRecorder: &events, APIReader: mgr.GetAPIReader(),
				Clock: clocktesting.NewFakePassiveClock(now), MoverImage: "mover:test", FieldManager: "cairn-manager",
				ClusterName: "test", Administrators: testbed.Administrators(),
				EnsureTrigger: accounts.ensure,
			}
			return reconciler.SetupWithManager(mgr, controller.Options{})
		})))
}

// configurationOf returns a configuration that becomes ready once the claim "uploads" and the storage "s3" exist.
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
			Name: "uploads", Backend: "main", Directory: "/shop/uploads",
			EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
		}},
	}
}

// working creates a namespace with a configuration and waits until it is Ready.
func working(t testing.TB) *v1alpha1.BackupConfiguration {
	t.Helper()
	namespace := bed.Namespace(t, nil)
	bed.ReadyStorage(t, namespace)
	configuration := configurationOf(namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"),
		testbed.Secret(namespace, "enc", map[string]string{"password": "p"}), configuration)
	bed.ReadyRepositories(t, namespace, "uploads")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	return configuration
}
