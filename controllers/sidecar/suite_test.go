package sidecar

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/backupconfiguration"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/testbed"
)

const (
	managerAccount = "cairn-system:cairn-manager"
	oldImage       = "mover:old"
	newImage       = "mover:new"
)

var (
	bed    testbed.Bed
	events testbed.Events
	// held are the namespaces whose workloads the running manager can't read.
	held sync.Map
	// running is the manager's own reconciler.
	running *Reconciler
)

// limited writes to workloads, and creates tokens, with only the rights that a namespace's owner gives to the manager.
type limited struct {
	client.Client
	account client.Client
}

func (l limited) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if u, ok := o.(interface{ GetKind() string }); ok && strings.HasSuffix(u.GetKind(), "Set") || ok &&
		u.GetKind() == v1alpha1.KindDeployment {
		return l.account.Apply(ctx, o, opts...)
	}
	return l.Client.Apply(ctx, o, opts...)
}

func (l limited) SubResource(name string) client.SubResourceClient {
	return l.account.SubResource(name)
}

// gate keeps a manager from reading in some namespaces.
type gate struct{ client.Reader }

func (g gate) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if _, is := held.Load(key.Namespace); is {
		return errors.New("this manager is held")
	}
	return g.Reader.Get(ctx, key, o, opts...)
}

func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.WithCatalog(), testbed.AsManager(), testbed.WithControllers(func(
		mgr ctrl.Manager,
	) error {
		if err := roles(); err != nil {
			return err
		}
		account := rest.CopyConfig(mgr.GetConfig())
		account.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + managerAccount}
		writer, err := client.New(account, client.Options{Scheme: mgr.GetScheme()})
		if err != nil {
			return err
		}
		changed := make(chan event.GenericEvent)
		running = &Reconciler{
			Client: limited{mgr.GetClient(), writer}, APIReader: gate{mgr.GetAPIReader()}, EventRecorder: &events,
			Clock:      clock.RealClock{},
			MoverImage: oldImage, ClusterName: "test", FieldManager: "cairn-manager", Account: managerAccount,
			Changed: changed,
		}
		if err := running.SetupWithManager(mgr, controller.Options{}); err != nil {
			return err
		}
		configurations := &backupconfiguration.Reconciler{
			Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), EventRecorder: &events, Clock: clock.RealClock{},
			MoverImage:   oldImage,
			FieldManager: "cairn-manager", ClusterName: "test",
			EnsureTrigger: func(context.Context, string) error { return nil },
			Sidecars:      running.State, SidecarsChanged: changed,
		}
		return configurations.SetupWithManager(mgr, controller.Options{})
	})))
}

// roles installs the shipped ClusterRole.
func roles() error {
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "sidecar_injector_role.yaml"))
	if err != nil {
		return err
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.Unmarshal(text, role); err != nil {
		return err
	}
	return bed.Client.Create(context.Background(), role)
}

// another is the manager after an upgrade, at another time. The running one no longer works in the namespace.
func another(t *testing.T, namespace, image string, now time.Time) *Reconciler {
	t.Helper()
	held.Store(namespace, true)
	bed.Quiet(t, namespace)
	r := &Reconciler{
		Client: running.Client, APIReader: bed.Manager.GetAPIReader(), EventRecorder: &events,
		Clock:      clocktesting.NewFakePassiveClock(now),
		MoverImage: image, ClusterName: "test", FieldManager: "cairn-manager", Account: managerAccount,
	}
	return r
}

// shop is a namespace with a Deployment of one volume and a policy that wants a sidecar in it.
type shop struct {
	*testing.T
	*GomegaWithT
	namespace     string
	deployment    *appsv1.Deployment
	configuration *v1alpha1.BackupConfiguration
	secret        *corev1.Secret
}

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {runAsUser: 1000, fsGroup: 2000}
      containers:
      - name: web
        image: web:1
        volumeMounts: [{name: pages, mountPath: /var/www}]
      volumes:
      - name: pages
        persistentVolumeClaim: {claimName: pages}
      - name: tmp
        emptyDir: {}
`

func newShop(t *testing.T, change ...func(*v1alpha1.BackupConfiguration)) *shop {
	t.Helper()
	s := &shop{T: t, GomegaWithT: NewWithT(t), namespace: bed.Namespace(t, nil)}
	bed.ReadyStorage(t, s.namespace)
	bed.Create(t, testbed.S3Key(s.namespace),
		testbed.Secret(s.namespace, "enc", map[string]string{"password": "first"}),
		testbed.Claim(s.namespace, "pages"))
	s.permit()
	s.deployment = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web"}}
	s.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace,
		Name:      sidecar.Name("Deployment", "web"),
	}}
	s.configuration = s.policy("web")
	for _, f := range change {
		f(s.configuration)
	}
	return s
}

// permit grants what the owner of the namespace has to grant.
func (s *shop) permit() {
	s.Helper()
	namespace, name, _ := strings.Cut(managerAccount, ":")
	bed.Create(s.T, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: v1alpha1.SidecarInjectorClusterRole},
		RoleRef: rbacv1.RoleRef{
			APIGroup: rbacv1.GroupName, Kind: "ClusterRole",
			Name: v1alpha1.SidecarInjectorClusterRole,
		},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	})
}

func (s *shop) policy(name string) *v1alpha1.BackupConfiguration {
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	c.Spec = v1alpha1.BackupConfigurationSpec{
		Target:   &v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"},
		Backends: []v1alpha1.BackendReference{{Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: "s3"}}},
		Sessions: []v1alpha1.BackupConfigurationSession{{
			SessionConfig: v1alpha1.SessionConfig{Name: "nightly"},
			Executor:      v1alpha1.ExecutorSidecar,
			Repositories: []v1alpha1.RepositoryInfo{{
				Name: name, Backend: "main", Directory: "/" + name,
				EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
			}},
		}},
	}
	return c
}

// apply applies the edited manifest as a GitOps tool does.
func (s *shop) apply(edit ...func(*appsv1.Deployment)) {
	s.Helper()
	d := &appsv1.Deployment{}
	s.Expect(yaml.Unmarshal([]byte(manifest), d)).To(Succeed())
	for _, f := range edit {
		f(d)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d)
	s.Expect(err).NotTo(HaveOccurred())
	u := &unstructured.Unstructured{Object: content}
	delete(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "creationTimestamp")
	u.SetNamespace(s.namespace)
	s.Expect(bed.Client.Apply(s.Context(), client.ApplyConfigurationFromUnstructured(u),
		client.FieldOwner("kustomize-controller"), client.ForceOwnership)).To(Succeed())
	s.Expect(bed.Client.Get(s.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
}

// rolledOut sets the status that the Deployment's controller sets when all pods are new.
func (s *shop) rolledOut() {
	s.Helper()
	bed.EditStatus(s.T, s.deployment, func() {
		s.deployment.Status = appsv1.DeploymentStatus{
			ObservedGeneration: s.deployment.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1,
			AvailableReplicas: 1,
			Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue},
				{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
			},
		}
	})
}

// start applies workload and policy, and waits until the sidecar is added and rolled out.
func (s *shop) start() {
	s.Helper()
	s.apply()
	bed.Create(s.T, s.configuration)
	s.injected(oldImage)
	bed.ExpectReason(s.T, s.configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonSidecarRolloutInProgress,
		"are being replaced")
	s.rolledOut()
	bed.ReadyRepositories(s.T, s.namespace, s.configuration.Name)
	bed.ExpectReason(s.T, s.configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

// container returns the sidecar in the Deployment, or nil if there is none.
func (s *shop) container() *corev1.Container {
	for i, c := range s.deployment.Spec.Template.Spec.InitContainers {
		if c.Name == sidecar.Container {
			return &s.deployment.Spec.Template.Spec.InitContainers[i]
		}
	}
	return nil
}

func (s *shop) injected(image string) {
	s.Helper()
	bed.Eventually(s.T, s.deployment, func(g Gomega) {
		g.Expect(s.container()).NotTo(BeNil())
		g.Expect(s.container().Image).To(Equal(image))
	}, "the workload has the sidecar "+image)
}

// clean waits until the Deployment holds nothing of ours and its Secret is gone.
func (s *shop) clean() {
	s.Helper()
	bed.Eventually(s.T, s.deployment, func(g Gomega) {
		g.Expect(s.container()).To(BeNil())
		g.Expect(s.deployment.Labels).To(Equal(map[string]string{"app": "web"}))
		g.Expect(s.deployment.Spec.Template.Spec.InitContainers).To(BeEmpty())
		g.Expect(s.deployment.Spec.Template.Spec.Volumes).To(HaveLen(2))
		for _, f := range s.deployment.ManagedFields {
			g.Expect(f.Manager).NotTo(Equal(sidecar.FieldManager))
		}
	}, "the workload is as it was")
	s.Eventually(func() error {
		return bed.Client.Get(s.Context(), client.ObjectKeyFromObject(s.secret), s.secret)
	}, testbed.Patience, testbed.Interval).Should(MatchError(ContainSubstring("not found")), "keys and token are gone")
}

// refresh makes a manager reconcile.
func (s *shop) refresh(r *Reconciler) *sidecar.State {
	s.Helper()
	l, err := r.update(s.Context(), "Deployment", client.ObjectKeyFromObject(s.deployment))
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(bed.Client.Get(s.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
	s.Expect(bed.Client.Get(s.Context(), client.ObjectKeyFromObject(s.secret), s.secret)).To(Succeed())
	return l.state
}

func has(name string) func(e string) bool {
	return func(e string) bool { return strings.Contains(e, name) }
}
