package doctor

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
)

// grant is a binding with the rules of its role.
type grant struct {
	kind, namespace, name string
	role                  rbacv1.RoleRef
	subjects              []rbacv1.Subject
	rules                 []rbacv1.PolicyRule
	// known reports that the role exists.
	known bool
}

// String names the binding and its role.
func (g *grant) String() string {
	return fmt.Sprintf("%s, %s %s", named(g.kind, g.namespace, g.name), g.role.Kind, g.role.Name)
}

// grants returns all bindings that were read.
func (j *judge) grants() []grant {
	clusterRoles, roles := map[string][]rbacv1.PolicyRule{}, map[string][]rbacv1.PolicyRule{}
	for i := range j.ClusterRoles {
		clusterRoles[j.ClusterRoles[i].Name] = j.ClusterRoles[i].Rules
	}
	for i := range j.Roles {
		roles[j.Roles[i].Namespace+"/"+j.Roles[i].Name] = j.Roles[i].Rules
	}
	var out []grant
	for i := range j.ClusterRoleBindings {
		b := &j.ClusterRoleBindings[i]
		rules, known := clusterRoles[b.RoleRef.Name]
		out = append(out, grant{"ClusterRoleBinding", "", b.Name, b.RoleRef, b.Subjects, rules, known})
	}
	for i := range j.RoleBindings {
		b := &j.RoleBindings[i]
		rules, known := clusterRoles[b.RoleRef.Name]
		if b.RoleRef.Kind == "Role" {
			rules, known = roles[b.Namespace+"/"+b.RoleRef.Name]
		}
		out = append(out, grant{"RoleBinding", b.Namespace, b.Name, b.RoleRef, b.Subjects, rules, known})
	}
	return out
}

// isAccount reports whether a subject of a binding is an account: by its name, by its name as a user, or by a group of
// all accounts.
func isAccount(subject rbacv1.Subject, bindingNamespace string, account types.NamespacedName) bool {
	switch subject.Kind {
	case rbacv1.ServiceAccountKind:
		namespace := subject.Namespace
		if namespace == "" {
			namespace = bindingNamespace
		}
		return subject.Name == account.Name && namespace == account.Namespace
	case rbacv1.UserKind:
		return subject.Name == "system:serviceaccount:"+account.Namespace+":"+account.Name
	case rbacv1.GroupKind:
		return slices.Contains([]string{
			"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:" + account.Namespace,
		}, subject.Name)
	}
	return false
}

// isSystem reports whether a subject is a part of Kubernetes itself, and not a group of everybody. Others have accounts
// in kube-system, too, but with roles of their own.
func isSystem(g *grant, subject rbacv1.Subject) bool {
	switch subject.Kind {
	case rbacv1.ServiceAccountKind:
		return subject.Namespace == "kube-system" && strings.HasPrefix(g.role.Name, "system:")
	case rbacv1.GroupKind:
		return subject.Name == "system:masters" || subject.Name == "system:nodes" || subject.Name == "system:monitoring"
	default:
		return strings.HasPrefix(subject.Name, "system:kube-")
	}
}

// subjectName returns how the report names a subject.
func subjectName(subject rbacv1.Subject, bindingNamespace string) string {
	if subject.Kind != rbacv1.ServiceAccountKind {
		return subject.Kind + " " + subject.Name
	}
	namespace := subject.Namespace
	if namespace == "" {
		namespace = bindingNamespace
	}
	return named(subject.Kind, namespace, subject.Name)
}
