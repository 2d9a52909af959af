package backupconfiguration

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// connecting returns a HookTemplate that connects to a port.
func connecting(namespace, name string, usage *v1alpha1.UsagePolicy) *v1alpha1.HookTemplate {
	return &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.HookTemplateSpec{
			UsagePolicy: usage,
			Action: &v1alpha1.HookAction{TCPSocket: &v1alpha1.HookTCPSocketAction{
				Host: "db.example.com",
				Port: intstr.FromInt32(5432),
			}},
			Executor: &v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorOperator},
		},
	}
}

// expectDependency waits until the status reports whether an object exists.
func expectDependency(
	t testing.TB, configuration *v1alpha1.BackupConfiguration, group, kind, namespace, name string, found bool,
) {
	t.Helper()
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Dependencies).To(ContainElement(v1alpha1.ResourceFoundStatus{
			TypedObjectReference: v1alpha1.TypedObjectReference{
				APIGroup: group, Kind: kind, Namespace: namespace, Name: name,
			},
			Found: &found,
		}))
	}, kind+" "+name)
}

func TestHookTemplatesAreDependencies(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	namespace := configuration.Namespace
	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{PreBackup: []v1alpha1.HookInfo{
			{Name: "a", HookTemplate: &v1alpha1.ObjectReference{Name: "connect"}},
			{Name: "b", HookTemplate: &v1alpha1.ObjectReference{Name: "connect"}},
		}}
	})
	expectDependency(t, configuration, v1alpha1.Group, v1alpha1.HookTemplateKind, namespace, "connect", false)
	g.Expect(configuration.Status.Dependencies).To(HaveLen(4), "Addon, Function, HookTemplate and Secret, each once")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonHookTemplateNotFound,
		"there is no HookTemplate "+namespace+"/connect")
	template := connecting(namespace, "connect", nil)
	bed.Create(t, template)
	expectDependency(t, configuration, v1alpha1.Group, v1alpha1.HookTemplateKind, namespace, "connect", true)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	bed.NoOp(t, reconciler, &events, configuration)
	g.Expect(bed.Client.Delete(t.Context(), template)).To(Succeed())
	expectDependency(t, configuration, v1alpha1.Group, v1alpha1.HookTemplateKind, namespace, "connect", false)
}

func TestSecretsAreDependencies(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	secret := testbed.Secret(configuration.Namespace, "enc", nil)
	look := func() ctrl.Result {
		t.Helper()
		bed.Quiet(t, configuration.Namespace) // Otherwise the manager's own reconcile can come in between.
		bed.Cached(t, configuration)
		result, err := reconciler.Reconcile(t.Context(),
			ctrl.Request{NamespacedName: client.ObjectKeyFromObject(configuration)})
		g.Expect(err).NotTo(HaveOccurred())
		return result
	}
	expectDependency(t, configuration, "", "Secret", configuration.Namespace, "enc", true)
	g.Expect(bed.Client.Delete(t.Context(), secret)).To(Succeed())
	g.Expect(look().RequeueAfter).To(Equal(time.Minute), "no watch reports that the Secret is back")
	expectDependency(t, configuration, "", "Secret", configuration.Namespace, "enc", false)
	result := bed.NoOp(t, reconciler, &events, configuration)
	g.Expect(result.RequeueAfter).To(Equal(time.Minute))
	bed.Create(t, testbed.Secret(configuration.Namespace, "enc", nil))
	g.Expect(look().RequeueAfter).To(Equal(18*time.Hour), "the next slot")
	expectDependency(t, configuration, "", "Secret", configuration.Namespace, "enc", true)
}

func TestNobodyLearnsWhichSecretsOthersHave(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	private, backup, namespace := bed.Namespace(t, nil), bed.Namespace(t, nil), bed.Namespace(t, nil)
	bed.ReadyStorage(t, backup)
	configuration := configurationOf(namespace)
	configuration.Spec.Backends[0].StorageRef.Namespace = backup
	second := configuration.Spec.Sessions[0].Repositories[0]
	second.Name, second.Directory, second.EncryptionSecret = "second", "/shop/second",
		&v1alpha1.ObjectReference{Namespace: private, Name: "enc"}
	configuration.Spec.Sessions[0].Repositories[0].EncryptionSecret.Namespace = backup
	configuration.Spec.Sessions[0].Repositories = append(configuration.Spec.Sessions[0].Repositories, second)
	for _, in := range []string{private, backup} {
		bed.Create(t, testbed.Secret(in, "enc", nil))
	}
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
	storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: backup, Name: "s3"}}
	bed.Edit(t, storage, func() { storage.Spec.UsagePolicy = testbed.Usage(everybody()) })
	expectDependency(t, configuration, "", "Secret", backup, "enc", true)
	g.Expect(configuration.Status.Dependencies).To(HaveLen(3), "nothing about Secret %s/enc", private)
	bed.Edit(t, storage, func() { storage.Spec.UsagePolicy = nil })
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Dependencies).To(HaveLen(2), "%v", configuration.Status.Dependencies)
	}, "the storage no longer allows this namespace")
}

func usageOf(from v1alpha1.NamespacesFrom, labels map[string]string) *v1alpha1.UsagePolicy {
	out := &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: &from}}
	if labels != nil {
		out.AllowedNamespaces.Selector = &metav1.LabelSelector{MatchLabels: labels}
	}
	return out
}

func everybody() *v1alpha1.UsagePolicy { return usageOf(v1alpha1.NamespacesFromAll, nil) }
