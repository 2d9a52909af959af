package config

import (
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// built returns the objects of a kustomization.
func built(g Gomega, dir string) []*kustomize.Resource {
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = 0
	out, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	g.Expect(err).NotTo(HaveOccurred())
	return out.Resources()
}

// bindings returns a kustomization's bindings of the ClusterRole cairn-sidecar-injector.
func bindings(g Gomega, dir string) []rbacv1.ClusterRoleBinding {
	var out []rbacv1.ClusterRoleBinding
	for _, resource := range built(g, dir) {
		if resource.GetKind() != "ClusterRoleBinding" {
			continue
		}
		var b rbacv1.ClusterRoleBinding
		g.Expect(yaml.Unmarshal([]byte(resource.MustYaml()), &b)).To(Succeed())
		if b.RoleRef.Name == "cairn-sidecar-injector" {
			out = append(out, b)
		}
	}
	return out
}

func TestWorkloadsAreChangedOnlyWhereSomebodyAllowsIt(t *testing.T) {
	g := NewWithT(t)
	g.Expect(bindings(g, "default")).To(BeEmpty())
	with := bindings(g, "testdata/with-sidecar")
	g.Expect(with).To(HaveLen(1))
	g.Expect(with[0].Subjects).To(Equal([]rbacv1.Subject{
		{Kind: "ServiceAccount", Namespace: "cairn-system", Name: "cairn-manager"},
	}))
}
