package doctor

import (
	"net/netip"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// State is what was read from a cluster.
type State struct {
	// Version of this program.
	Version string
	// Manager is where the Deployment of the manager should be.
	Manager types.NamespacedName
	// Deployment of the manager; nil if there is none.
	Deployment *appsv1.Deployment
	// Others are Deployments elsewhere with the label of a manager.
	Others []string

	CRDs              []apiextensionsv1.CustomResourceDefinition
	AdmissionPolicies []admissionv1.ValidatingAdmissionPolicy
	AdmissionBindings []admissionv1.ValidatingAdmissionPolicyBinding
	NetworkPolicies   []networkingv1.NetworkPolicy // of the manager's namespace
	// Guarded are the namespaces with a NetworkPolicy that Guards movers.
	Guarded             map[string]bool
	ClusterRoles        []rbacv1.ClusterRole
	ClusterRoleBindings []rbacv1.ClusterRoleBinding
	// Roles and RoleBindings that Concerns lets through.
	Roles        []rbacv1.Role
	RoleBindings []rbacv1.RoleBinding

	Namespaces []Namespace
	// PolicyAccounts are the namespaces with an account cairn-policy.
	PolicyAccounts []string

	PolicySyncs       []v1alpha1.PolicySync
	Ledgers           []v1alpha1.Ledger
	Storages          []v1alpha1.BackupStorage
	RetentionPolicies []v1alpha1.RetentionPolicy
	HookTemplates     []v1alpha1.HookTemplate
	Functions         []v1alpha1.Function
	// Uses counts the Repositories of a namespace in a storage.
	Uses map[Use]int
	// RestoreTo are the Repositories that other namespaces may restore from, with those namespaces.
	RestoreTo map[string]string
	// Policies counts the BackupConfigurations and BackupBatches of a namespace.
	Policies map[string]int
	// APIServer is where the API server is.
	APIServer []netip.AddrPort

	// Unread are the resources that could not be read, with the reason.
	Unread map[string]string
}

// Namespace is what is asked of a Namespace.
type Namespace struct {
	Name                string
	Labels, Annotations map[string]string
}

// Use is a namespace that keeps backups in a storage.
type Use struct{ Storage, Namespace string }

// read reports whether all these resources were read.
func (s *State) read(resources ...string) bool {
	return !slices.ContainsFunc(resources, func(r string) bool { _, unread := s.Unread[r]; return unread })
}

// Account is the account of the manager.
func (s *State) Account() types.NamespacedName {
	name := ""
	if s.Deployment != nil {
		name = s.Deployment.Spec.Template.Spec.ServiceAccountName
	}
	if name == "" {
		name = managerName
	}
	return types.NamespacedName{Namespace: s.Manager.Namespace, Name: name}
}

// managerName is the name of the manager's Deployment and account as they are shipped.
const managerName = "cairn-manager"

// installed returns the name that a shipped object has here: kustomize gives all of an installation one prefix.
func (s *State) installed(name string) string {
	if prefix, ok := strings.CutSuffix(s.Manager.Name, managerName); ok {
		return prefix + name
	}
	return name
}

// Concerns reports whether a RoleBinding is about the manager, about an account that acts for it, or about a
// namespace where rights are rights over more than the namespace. There can be very many others.
func (s *State) Concerns(b *rbacv1.RoleBinding, administrators []string) bool {
	if b.Namespace == s.Manager.Namespace || slices.Contains(administrators, b.Namespace) {
		return true
	}
	return slices.ContainsFunc(b.Subjects, func(subject rbacv1.Subject) bool {
		return isAccount(subject, b.Namespace, s.Account()) || subject.Kind == rbacv1.ServiceAccountKind &&
			(subject.Name == v1alpha1.PolicyServiceAccount || subject.Name == v1alpha1.HookServiceAccount)
	})
}
