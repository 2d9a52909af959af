package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// TestTheReadmeInstallsCairn runs the commands of the README on a cluster that knows nothing of Cairn, and then with
// its kustomization for images elsewhere.
func TestTheReadmeInstallsCairn(t *testing.T) {
	g := NewWithT(t)
	u := newUser(t)
	readme := section(t, "README.md", "Install it")
	u.runs(t, commands(readme)...)
	var addons v1alpha1.AddonList
	g.Expect(u.bed.Client.List(t.Context(), &addons)).To(Succeed())
	g.Expect(addons.Items).NotTo(BeEmpty(), "without Addons no policy is valid")

	_, own, found := strings.Cut(readme, "```yaml\n")
	g.Expect(found).To(BeTrue())
	own, _, _ = strings.Cut(own, "```")
	g.Expect(os.WriteFile(filepath.Join(u.dir, "kustomization.yaml"), []byte(own), 0o600)).To(Succeed())
	u.runs(t, "kubectl apply --server-side -k .")
	var manager appsv1.Deployment
	g.Expect(u.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: "cairn-system", Name: name}, &manager)).
		To(Succeed())
	container := manager.Spec.Template.Spec.Containers[0]
	g.Expect(container.Image).To(Equal("registry.example.com/cairn/manager:1"))
	g.Expect(container.Args).To(ContainElements(
		"--enable-leader-election", "--mover-image=registry.example.com/cairn/mover:1", "--data-dir=/data",
		"--cluster-name=home",
	))
}

// user is somebody with kubectl, a cluster, and a copy of what Cairn is installed from.
type user struct {
	bed *testbed.Bed
	dir string
}

// newUser starts an API server without the kinds of Cairn.
func newUser(t *testing.T) user {
	t.Helper()
	g := NewWithT(t)
	u := user{&testbed.Bed{}, t.TempDir()}
	t.Cleanup(func() { g.Expect(u.bed.Stop()).To(Succeed()) })
	g.Expect(u.bed.Start(context.WithoutCancel(t.Context()), testbed.WithoutKinds())).To(Succeed())
	for _, dir := range []string{"config", "policies"} {
		g.Expect(os.CopyFS(filepath.Join(u.dir, dir), os.DirFS(filepath.Join("..", "..", dir)))).To(Succeed())
	}
	return u
}

// section returns a section of a page.
func section(t *testing.T, page, title string) string {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(page)))
	g.Expect(err).NotTo(HaveOccurred())
	_, rest, found := strings.Cut(string(text), "\n## "+title+"\n")
	g.Expect(found).To(BeTrue(), "%s has the section %q", page, title)
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// commands returns the indented lines of a text that call kubectl.
func commands(text string) []string {
	var out []string
	for _, line := range regexp.MustCompile(`(?m)^ {4}(.*\bkubectl .*)$`).FindAllStringSubmatch(text, -1) {
		out = append(out, line[1])
	}
	return out
}

// runs runs the commands of a page, one after the other.
func (u user) runs(t *testing.T, commands ...string) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(commands).NotTo(BeEmpty())
	for _, command := range commands {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
		cmd.Dir = u.dir
		cmd.Env = append(os.Environ(), "KUBECONFIG="+u.bed.Kubeconfig,
			"PATH="+os.Getenv("KUBEBUILDER_ASSETS")+string(filepath.ListSeparator)+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), "$ %s\n%s", command, out)
	}
}
