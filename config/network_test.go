package config

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"
)

// installed is what a kustomization makes.
type installed struct {
	manager  appsv1.Deployment
	service  corev1.Service // of the metrics
	policies map[string]networkingv1.NetworkPolicy
}

func build(g Gomega, dir string) installed {
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = 0
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	g.Expect(err).NotTo(HaveOccurred())
	out := installed{policies: map[string]networkingv1.NetworkPolicy{}}
	for _, r := range built.Resources() {
		text := []byte(r.MustYaml())
		switch {
		case r.GetKind() == "Deployment":
			g.Expect(sigsyaml.Unmarshal(text, &out.manager)).To(Succeed())
		case r.GetKind() == "Service" && r.GetName() == "cairn-manager":
			g.Expect(sigsyaml.Unmarshal(text, &out.service)).To(Succeed())
		case r.GetKind() == "NetworkPolicy":
			var p networkingv1.NetworkPolicy
			g.Expect(sigsyaml.UnmarshalStrict(text, &p)).To(Succeed())
			out.policies[p.Name] = p
		}
	}
	return out
}

// selects reports whether a policy is about a pod with these labels.
func selects(g Gomega, p networkingv1.NetworkPolicy, pod map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	g.Expect(err).NotTo(HaveOccurred())
	return selector.Matches(labels.Set(pod))
}

func TestTheManagerIsReachedOnlyForItsMetrics(t *testing.T) {
	g := NewWithT(t)
	in := build(g, "testdata/with-network")
	policy, pod := in.policies["cairn-manager"], in.manager.Spec.Template
	g.Expect(selects(g, policy, pod.Labels)).To(BeTrue())
	g.Expect(policy.Namespace).To(Equal(in.manager.Namespace))
	g.Expect(policy.Spec.PolicyTypes).To(ConsistOf(networkingv1.PolicyTypeIngress), "egress is open")
	g.Expect(policy.Spec.Ingress).To(HaveLen(1))
	g.Expect(policy.Spec.Ingress[0].Ports).To(HaveLen(1))
	open := policy.Spec.Ingress[0].Ports[0].Port.StrVal
	var names []string
	for _, port := range pod.Spec.Containers[0].Ports {
		names = append(names, port.Name)
	}
	g.Expect(names).To(ConsistOf(open, "healthz"), "the kubelet asks for the health from the node itself")
	g.Expect(in.service.Spec.Ports).To(HaveLen(1))
	g.Expect(in.service.Spec.Ports[0].TargetPort.StrVal).To(Equal(open))
	g.Expect(in.service.Spec.Ports[0].Name).To(Equal("https-metrics"))
}

func TestThePushgatewayIsReachedOnlyFromNamespacesWithALabel(t *testing.T) {
	g := NewWithT(t)
	in := build(g, "testdata/with-pushgateway")
	policy := in.policies["cairn-pushgateway"]
	g.Expect(selects(g, policy, in.manager.Spec.Template.Labels)).To(BeTrue())
	for _, rule := range policy.Spec.Ingress {
		for _, port := range rule.Ports {
			switch port.Port.StrVal {
			case "metrics":
			case "pushgateway":
				g.Expect(rule.From).To(HaveLen(1))
				g.Expect(rule.From[0].NamespaceSelector.MatchLabels).NotTo(BeEmpty())
			default:
				g.Expect(port.Port.String()).To(BeEmpty(), "no other port is open")
			}
		}
	}
}

// TestNobodyConnectsToAMover checks that the shipped policies select each pod that Cairn starts.
func TestNobodyConnectsToAMover(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile("../policies/components/network/movers.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var theirs networkingv1.NetworkPolicy
	g.Expect(sigsyaml.UnmarshalStrict(text, &theirs)).To(Succeed())
	in := build(g, "testdata/with-network")
	for name, policy := range map[string]networkingv1.NetworkPolicy{
		"policies/components/network": theirs, "config/network": in.policies["cairn-movers"],
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(policy.Spec.PolicyTypes).To(ConsistOf(networkingv1.PolicyTypeIngress))
			g.Expect(policy.Spec.Ingress).To(BeEmpty())
			g.Expect(selects(g, policy, in.manager.Spec.Template.Labels)).To(BeFalse(), "not the manager")
			jobs := 0
			for _, job := range goldenJobs(t) {
				g.Expect(selects(g, policy, job.Spec.Template.Labels)).To(BeTrue(), job.Name)
				jobs++
			}
			g.Expect(jobs).To(BeNumerically(">", 10))
		})
	}
}

// goldenJobs returns the Jobs that the tests of internal/task/moverjob expect.
func goldenJobs(t *testing.T) (out []batchv1.Job) {
	t.Helper()
	g := NewWithT(t)
	files, err := filepath.Glob("../internal/task/moverjob/testdata/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
			var job batchv1.Job
			err := d.Decode(&job)
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil && job.Kind == "Job" {
				out = append(out, job)
			}
		}
	}
	return out
}

// TestTheDirectoriesOfTheManagerAreBounded checks that no directory of the manager can fill the disk of its node.
func TestTheDirectoriesOfTheManagerAreBounded(t *testing.T) {
	g := NewWithT(t)
	volumes := build(g, "default").manager.Spec.Template.Spec.Volumes
	g.Expect(volumes).NotTo(BeEmpty())
	atMost := resource.MustParse("4Gi")
	for _, v := range volumes {
		if v.EmptyDir == nil {
			continue
		}
		g.Expect(v.EmptyDir.SizeLimit).NotTo(BeNil(), v.Name)
		g.Expect(v.EmptyDir.SizeLimit.Cmp(atMost)).To(BeNumerically("<=", 0), v.Name)
	}
}
