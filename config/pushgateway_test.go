package config

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func TestThePushgatewayStandsBesideTheManager(t *testing.T) {
	g := NewWithT(t)
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = 0
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), "testdata/with-pushgateway")
	g.Expect(err).NotTo(HaveOccurred())
	var manager appsv1.Deployment
	services := 0
	for _, resource := range built.Resources() {
		switch {
		case resource.GetKind() == "Deployment":
			g.Expect(yaml.Unmarshal([]byte(resource.MustYaml()), &manager)).To(Succeed())
		case resource.GetKind() == "Service" && resource.GetName() == "cairn-pushgateway":
			services++
		}
	}
	g.Expect(services).To(Equal(1))
	containers := manager.Spec.Template.Spec.Containers
	g.Expect(containers).To(HaveLen(2))
	g.Expect(containers[0].Args).To(ContainElements(
		"--enable-leader-election", "--pushgateway-url=http://localhost:9091",
	))
	g.Expect(containers[1].Name).To(Equal("pushgateway"))
	g.Expect(containers[1].ReadinessProbe).To(BeNil(), "a failing Pushgateway must not make the manager unready")
	g.Expect(*containers[1].SecurityContext.ReadOnlyRootFilesystem).To(BeTrue())
}
