package config

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// TestThePoliciesKnowTheManagerOfTheInstallation builds an installation in another namespace, and with other names. The
// policies that make an exception for the manager must name the account that its Deployment has there.
func TestThePoliciesKnowTheManagerOfTheInstallation(t *testing.T) {
	for name, tt := range map[string]struct{ first, second string }{
		"as it is":                     {},
		"in another namespace":         {first: "namespace: backups\n"},
		"with a prefix":                {first: "namespace: backups\nnamePrefix: team-\n"},
		"in a namespace, step by step": {first: "namespace: first\n", second: "namespace: second\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			dir := t.TempDir()
			shipped, err := filepath.Abs("default")
			g.Expect(err).NotTo(HaveOccurred())
			shipped, err = filepath.Rel(dir, shipped)
			g.Expect(err).NotTo(HaveOccurred())
			write := func(file, text string) {
				g.Expect(os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755)).To(Succeed())
				g.Expect(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)).To(Succeed())
			}
			write("first/kustomization.yaml", tt.first+"resources: [../"+shipped+"]\n")
			write("second/kustomization.yaml", tt.second+"resources: [../first]\n")
			options := krusty.MakeDefaultOptions()
			options.LoadRestrictions = 0
			built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), filepath.Join(dir, "second"))
			g.Expect(err).NotTo(HaveOccurred())
			account := ""
			var named []string
			for _, r := range built.Resources() {
				switch r.GetKind() {
				case "Deployment":
					var d appsv1.Deployment
					g.Expect(yaml.Unmarshal([]byte(r.MustYaml()), &d)).To(Succeed())
					account = d.Namespace + "/" + d.Spec.Template.Spec.ServiceAccountName
				case "ValidatingAdmissionPolicyBinding":
					var b admissionv1.ValidatingAdmissionPolicyBinding
					g.Expect(yaml.Unmarshal([]byte(r.MustYaml()), &b)).To(Succeed())
					if p := b.Spec.ParamRef; p != nil {
						named = append(named, p.Namespace+"/"+p.Name)
					}
				}
			}
			g.Expect(account).NotTo(BeEmpty())
			g.Expect(named).To(Equal([]string{account, account}))
		})
	}
}
