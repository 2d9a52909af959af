package doctor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/doctor"
)

// TestDoctor installs Cairn, then does to it what administrators and tenants can do.
func TestDoctor(t *testing.T) {
	g := NewWithT(t)
	r := run(t, "doctor")
	g.Expect(r.code).To(Equal(1), r.err)
	g.Expect(r.out).To(ContainSubstring("fail  there is no Deployment cairn-system/cairn-manager"))

	install(t)
	r = run(t, "doctor")
	g.Expect(r.err).To(BeEmpty())
	golden(t, "shipped.txt", r.out)
	g.Expect(r.code).To(Equal(0), "an installation as it is shipped deviates nowhere")

	deviate(t)
	r = run(t, "doctor")
	g.Expect(r.err).To(BeEmpty())
	golden(t, "deviations.txt", r.out)
	g.Expect(r.code).To(Equal(1))

	r = run(t, "doctor", "-o", "json")
	g.Expect(r.code).To(Equal(1), "the format changes nothing")
	var report doctor.Report
	g.Expect(json.Unmarshal([]byte(r.out), &report)).To(Succeed())
	g.Expect(report.Count(doctor.Fail)).To(Equal(strings.Count(run(t, "doctor").out, "\nfail ")))

	readsAllPages(t)
	namesWhatItMayNotRead(t)
	for _, args := range [][]string{
		{"doctor", "-o", "xml"}, {"doctor", "--manager", "cairn-manager"}, {"doctor", "x"},
	} {
		g.Expect(run(t, args...).code).To(Equal(2), "%v", args)
	}
}

// deviate makes the objects of testdata/deviations.yaml, and weakens three admission policies.
func deviate(t testing.TB) {
	t.Helper()
	g := NewWithT(t)
	apply(t, "testdata/deviations.yaml")
	g.Expect(bed.Client.Delete(t.Context(),
		&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "cairn-sidecar"}})).To(Succeed())
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "cairn-marks"}}
	bed.Edit(t, binding, func() { binding.Spec.ParamRef.Namespace = "shop" })
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "cairn-manager-secrets"}}
	bed.Edit(t, policy, func() { policy.Spec.Validations = policy.Spec.Validations[:1] })
}

// apply applies the objects of a file.
func apply(t testing.TB, name string) {
	t.Helper()
	g := NewWithT(t)
	file, err := os.Open(name)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = file.Close() }()
	for documents := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		object := &unstructured.Unstructured{}
		err := documents.Decode(object)
		if errors.Is(err, io.EOF) {
			return
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(bed.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object),
			client.FieldOwner("kubectl"))).To(Succeed(), object.GetName())
	}
}

// readsAllPages makes more Repositories than one answer of the API server has.
func readsAllPages(t testing.TB) {
	t.Helper()
	g := NewWithT(t)
	for i := range 501 {
		g.Expect(bed.Client.Create(t.Context(), &v1alpha1.Repository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "blog", Name: fmt.Sprintf("many-%d", i)},
			Spec: v1alpha1.RepositorySpec{
				StorageRef:       v1alpha1.ObjectReference{Namespace: "cairn-system", Name: "s3"},
				Path:             fmt.Sprintf("/blog/many-%d", i),
				EncryptionSecret: v1alpha1.ObjectReference{Name: "encryption"},
			},
		})).To(Succeed())
	}
	g.Expect(run(t, "doctor").out).To(ContainSubstring("other namespaces with Repositories in it: blog (502)"))
}

// namesWhatItMayNotRead asks as somebody who may read the Deployment and the kinds of Cairn, and nothing else.
func namesWhatItMayNotRead(t testing.TB) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(run(t, "doctor", "--as", "nobody").out).To(HavePrefix("Not read:\nfail  customresourcedefinitions: "))
	apply(t, "testdata/reader.yaml")
	var r result
	g.Eventually(func() string {
		r = run(t, "doctor", "--as", "viewer")
		return r.out
	}).Should(ContainSubstring("the manager is Deployment"), "the API server has seen the rights")
	g.Expect(r.code).To(Equal(1))
	g.Expect(r.out).To(And(ContainSubstring("\nfail  clusterroles: "), ContainSubstring("\nfail  rolebindings: "),
		ContainSubstring("\nfail  validatingadmissionpolicies: "), ContainSubstring("\nfail  namespaces: "),
		Not(ContainSubstring("and no others")), Not(ContainSubstring("there and deny"))))
}

// TestThePageShowsRealOutput compares what the guide shows with the golden file of TestDoctor.
func TestThePageShowsRealOutput(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("../../../docs/guides/operations.md")
	g.Expect(err).NotTo(HaveOccurred())
	_, section, found := strings.Cut(string(page), "\n## Look for what deviates\n")
	g.Expect(found).To(BeTrue())
	_, block, found := strings.Cut(section, "\n```\n")
	g.Expect(found).To(BeTrue())
	block, _, _ = strings.Cut(block, "\n```\n")
	output, err := os.ReadFile("testdata/deviations.txt")
	g.Expect(err).NotTo(HaveOccurred())
	for _, line := range strings.Split(block, "\n") {
		g.Expect(strings.Split(string(output), "\n")).To(ContainElement(line))
	}
}
