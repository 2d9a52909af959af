package testbed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// deploymentOf has one container for each image.
func deploymentOf(images ...string) *unstructured.Unstructured {
	var containers []any
	for _, image := range images {
		containers = append(containers, map[string]any{"image": image})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"kind": "Deployment", "metadata": map[string]any{"name": "d"},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": containers}}},
	}}
}

func TestPodsAreReplacedWithAnyOfTheirImages(t *testing.T) {
	g := NewWithT(t)
	bed := &Testbed{root: t.TempDir()}
	g.Expect(os.MkdirAll(filepath.Dir(bed.archive("x")), 0o755)).To(Succeed())
	pinned := func(images ...string) string {
		t.Helper()
		d := deploymentOf(images...)
		g.Expect(bed.pinImages([]*unstructured.Unstructured{d})).To(Succeed())
		annotations, _, err := unstructured.NestedStringMap(d.Object, "spec", "template", "metadata", "annotations")
		g.Expect(err).NotTo(HaveOccurred())
		return annotations[annotationArchive]
	}
	write := func(image, content string) {
		t.Helper()
		g.Expect(os.WriteFile(bed.archive(image), []byte(content), 0o600)).To(Succeed())
	}
	write("manager", "one")
	write("gateway", "one")
	alone, both := pinned("cairn.local/manager:dev"), pinned("cairn.local/manager:dev", "cairn.local:5000/gateway:dev")
	g.Expect(alone).To(HaveLen(64))
	g.Expect(both).To(Equal(alone + "," + alone))
	write("gateway", "two")
	g.Expect(pinned("cairn.local/manager:dev", "cairn.local:5000/gateway:dev")).
		To(And(Not(Equal(both)), HavePrefix(alone)), "the second image changed")

	err := bed.pinImages([]*unstructured.Unstructured{deploymentOf()})
	g.Expect(err).To(MatchError(ContainSubstring("Deployment d: there are none")))
	err = bed.pinImages([]*unstructured.Unstructured{deploymentOf("cairn.local/" + strings.Repeat("x", 3))})
	g.Expect(err).To(MatchError(ContainSubstring("make testbed-images writes them")))
}
