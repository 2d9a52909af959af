package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/inventory"
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

	// No controller rolls the Deployment out here.
	u.runs(t, without(commands(section(t, "docs/guides/operations.md", "Upgrade")), "rollout")...)
}

// TestCairnIsUninstalledAsItsPageSays runs the commands of the page in a cluster with an object of each kind that a
// finalizer can hold. The manager runs until it is deleted.
func TestCairnIsUninstalledAsItsPageSays(t *testing.T) {
	g := NewWithT(t)
	u := newUser(t)
	u.runs(t, commands(section(t, "README.md", "Install it"))...)
	manager := begin(t, kubeconfigOf(t, u.bed, false), "--enable-leader-election")
	u.used(t)

	steps := commands(section(t, "docs/guides/operations.md", "Uninstall"))
	last := slices.Index(steps, "kubectl delete --ignore-not-found -k config/default")
	g.Expect(last).To(BeNumerically(">", 0))
	look := slices.IndexFunc(steps, func(step string) bool { return strings.Contains(step, "WipeOut") })
	u.runs(t, steps[:look]...)
	g.Expect(u.output(t, "kubectl get policysyncs.backup.cairn.dev -A -o name")).To(BeEmpty())
	g.Expect(u.output(t, steps[look])).To(ContainSubstring("BackupConfiguration shop/web: WipeOut"),
		"the PolicySync took nothing along, although it says Delete")
	u.runs(t, steps[look:last]...)
	g.Expect(manager.end(t)).To(Equal(0), "its Deployment goes with the rest")
	go u.finalizeNamespace(t.Context(), "cairn-system")
	u.runs(t, steps[last:]...)
	g.Expect(u.output(t, "kubectl get crd -o name")).NotTo(ContainSubstring(v1alpha1.Group))
	g.Expect(u.output(t, "kubectl get serviceaccount,rolebinding,lease -n shop -o name")).
		NotTo(ContainSubstring("cairn"))
}

// used makes objects of all kinds with finalizers, and waits until the manager holds them. The PolicySync has applied
// the BackupConfiguration.
func (u user) used(t *testing.T) {
	t.Helper()
	objects, err := filepath.Abs(filepath.Join("testdata", "used.yaml"))
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	u.runs(t, "kubectl apply -f '"+objects+"'")
	const held = "kubectl get backupstorages,repositories,backupconfigurations,restoresessions,policysyncs,ledgers " +
		"-n shop -o custom-columns=KIND:.kind,BY:.metadata.finalizers --no-headers"
	g.Eventually(func() string { return u.output(t, held) }, testbed.Patience, testbed.Interval).Should(And(
		Not(ContainSubstring("none")), ContainSubstring("RestoreSession"), ContainSubstring("Ledger"),
	))
	sync := &v1alpha1.PolicySync{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	applied, err := inventory.Pack([]v1alpha1.ResourceRef{{
		ID: "shop_web_" + v1alpha1.Group + "_" + v1alpha1.BackupConfigurationKind, Version: "v1alpha1",
	}})
	g.Expect(err).NotTo(HaveOccurred())
	u.bed.EditStatus(t, sync, func() { sync.Status.Inventory = applied })
}

// finalizeNamespace empties a namespace that is being deleted and lets it go, as the namespace controller does.
func (u user) finalizeNamespace(ctx context.Context, name string) {
	for ctx.Err() == nil {
		ns := &corev1.Namespace{}
		err := u.bed.Client.Get(ctx, client.ObjectKey{Name: name}, ns)
		if err == nil && ns.DeletionTimestamp != nil {
			for _, o := range []client.Object{&corev1.ServiceAccount{}, &rbacv1.RoleBinding{}} {
				err = errors.Join(err, u.bed.Client.DeleteAllOf(ctx, o, client.InNamespace(name)))
			}
			if ns.Spec.Finalizers = nil; err == nil {
				err = u.bed.Client.SubResource("finalize").Update(ctx, ns)
			}
		}
		if apierrors.IsNotFound(err) {
			return
		}
		time.Sleep(testbed.Interval)
	}
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
	for _, line := range regexp.MustCompile(`(?m)^ {4,}(\S*.*\bkubectl .*)$`).FindAllStringSubmatch(text, -1) {
		out = append(out, line[1])
	}
	return out
}

// without leaves out the commands with a word.
func without(commands []string, word string) []string {
	return slices.DeleteFunc(commands, func(command string) bool { return strings.Contains(command, word) })
}

// runs runs the commands of a page, one after the other.
func (u user) runs(t *testing.T, commands ...string) {
	t.Helper()
	NewWithT(t).Expect(commands).NotTo(BeEmpty())
	for _, command := range commands {
		t.Logf("$ %s\n%s", command, u.output(t, command))
	}
}

// output runs a command, which has to succeed.
func (u user) output(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testbed.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// With what the shell has begun.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Dir = u.dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+u.bed.Kubeconfig,
		"PATH="+os.Getenv("KUBEBUILDER_ASSETS")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "$ %s\n%s", command, out)
	return string(out)
}
