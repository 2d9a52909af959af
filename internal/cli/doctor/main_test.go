package doctor_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/internal/cli"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var (
	bed    testbed.Bed
	update = flag.Bool("update", false, "write the golden files")
)

func TestMain(m *testing.M) { os.Exit(bed.Run(m)) }

// result is the outcome of a run of the program.
type result struct {
	code     int
	out, err string
}

// run runs the program as a user would, against the API server of the tests.
func run(t testing.TB, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := cli.Run(t.Context(), command.Options{
		IOStreams: genericiooptions.IOStreams{In: new(bytes.Buffer), Out: &out, ErrOut: &errOut}, Program: "cairn",
	}, append(args, "--kubeconfig", bed.Kubeconfig))
	return result{code, out.String(), errOut.String()}
}

// golden compares with testdata/<name>, or writes it.
func golden(t testing.TB, name, got string) {
	t.Helper()
	g := NewWithT(t)
	file := filepath.Join("testdata", name)
	if *update {
		g.Expect(os.WriteFile(file, []byte(got), 0o600)).To(Succeed())
	}
	want, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(string(want)))
}

// install applies config/default as an administrator installs it: with a component, a name for the cluster, and images
// that are named by their digests.
func install(t testing.TB) {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	config, err := filepath.Abs("../../../config")
	g.Expect(err).NotTo(HaveOccurred())
	config, err = filepath.Rel(dir, config)
	g.Expect(err).NotTo(HaveOccurred())
	const registry, digest = "registry.example.com/cairn/", "@sha256:" +
		"1111111111111111111111111111111111111111111111111111111111111111"
	text := `
resources: [` + config + `/default]
components: [` + config + `/network]
patches:
- target: {kind: Deployment, name: cairn-manager}
  patch: |
    - {op: replace, path: /spec/template/spec/containers/0/image, value: "` + registry + `manager` + digest + `"}
    - op: replace
      path: /spec/template/spec/containers/0/args/1
      value: "--mover-image=` + registry + `mover` + digest + `"
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --cluster-name=home}
`
	g.Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600)).To(Succeed())
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = 0
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "cairn-system"}})).
		To(Succeed())
	for _, resource := range built.Resources() {
		if resource.GetKind() == "CustomResourceDefinition" {
			continue // the bed has them
		}
		object := &unstructured.Unstructured{}
		g.Expect(yaml.Unmarshal([]byte(resource.MustYaml()), &object.Object)).To(Succeed())
		g.Expect(bed.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object),
			client.FieldOwner("kubectl"))).To(Succeed())
	}
}
