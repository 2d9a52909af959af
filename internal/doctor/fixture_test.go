package doctor

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const digest = "@sha256:1111111111111111111111111111111111111111111111111111111111111111"

// healthy is an installation as it is shipped, with pinned images and all components that only protect.
func healthy(t testing.TB) *State {
	t.Helper()
	text, err := os.ReadFile("../../config/manager/deployment.yaml")
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	var d appsv1.Deployment
	g.Expect(yaml.UnmarshalStrict(text, &d)).To(Succeed())
	d.Spec.Template.Spec.Containers[0].Image = "registry.example.com/manager:v1" + digest
	d.Spec.Template.Spec.Containers[0].Args = []string{
		"--enable-leader-election", "--mover-image=registry.example.com/mover:v1" + digest, "--cluster-name", "home",
	}
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "cairn-system", Name: "cairn-manager"}
	s := &State{
		Version: "v1", Manager: types.NamespacedName{Namespace: "cairn-system", Name: "cairn-manager"}, Deployment: &d,
		CRDs: shipped().crds, AdmissionPolicies: shipped().policies,
		ClusterRoleBindings: []rbacv1.ClusterRoleBinding{
			bound("cairn-manager", account), bound("cairn-metrics-review", account),
			bound("cluster-admin", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "system:masters"}),
			bound("system:discovery", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "system:authenticated"}),
		},
		Roles: []rbacv1.Role{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "cairn-system", Name: "cairn-leader-election"},
			Rules:      shipped().roles["cairn-leader-election"],
		}},
		RoleBindings: []rbacv1.RoleBinding{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "cairn-system", Name: "cairn-leader-election"},
			RoleRef:    rbacv1.RoleRef{Kind: "Role", Name: "cairn-leader-election"},
			Subjects:   []rbacv1.Subject{account},
		}},
		Namespaces: []Namespace{{Name: "cairn-system"}, {Name: "shop"}},
		Uses:       map[Use]int{}, RestoreTo: map[string]string{}, Policies: map[string]int{},
		Unread: map[string]string{},
	}
	for _, b := range shipped().bindings {
		s.AdmissionBindings = append(s.AdmissionBindings, *b.DeepCopy())
	}
	for _, name := range shipped().networkPolicies {
		s.NetworkPolicies = append(s.NetworkPolicies,
			networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	for name, rules := range shipped().clusterRoles {
		s.ClusterRoles = append(s.ClusterRoles, role(name, rules...))
	}
	s.ClusterRoles = append(s.ClusterRoles, role("cluster-admin", everything...),
		role("system:discovery",
			rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/api", "/api/*"}}))
	return s
}

func role(name string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
	return rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func bound(name string, who rbacv1.Subject) rbacv1.ClusterRoleBinding {
	return rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{who},
	}
}

// boundIn adds a RoleBinding with the name of its ClusterRole.
func (s *State) boundIn(namespace, name string, who rbacv1.Subject) {
	s.RoleBindings = append(s.RoleBindings, rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: name}, Subjects: []rbacv1.Subject{who},
	})
}

func user(name string) rbacv1.Subject { return rbacv1.Subject{Kind: rbacv1.UserKind, Name: name} }

func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

// args adds arguments to the manager.
func (s *State) args(more ...string) {
	c := &s.Deployment.Spec.Template.Spec.Containers[0]
	c.Args = append(c.Args, more...)
}

// storage adds an S3 storage with separate keys.
func (s *State) storage(namespace, name string, change func(*v1alpha1.BackupStorageSpec)) {
	b := v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.BackupStorageSpec{
			Storage: v1alpha1.Storage{
				Provider: v1alpha1.ProviderS3,
				S3:       &v1alpha1.S3Storage{Endpoint: "https://s3.example.com", SecretName: "key"},
			},
			MaintenanceSecretName: "maintenance",
		},
	}
	if change != nil {
		change(&b.Spec)
	}
	s.Storages = append(s.Storages, b)
}

// open is a usagePolicy for all namespaces.
func open() *v1alpha1.StorageUsagePolicy {
	all := v1alpha1.NamespacesFromAll
	return &v1alpha1.StorageUsagePolicy{
		UsagePolicy: v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: &all}},
	}
}
