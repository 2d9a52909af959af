package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// asManager makes this program the manager, so that tests can start it as a separate process.
const asManager = "CAIRN_TEST_AS_MANAGER"

// bed is an API server without the kinds of Cairn: the tests install it as users do.
var bed testbed.Bed

func TestMain(m *testing.M) {
	if os.Getenv(asManager) != "" {
		main()
		return
	}
	os.Exit(bed.Run(m, testbed.WithoutKinds()))
}

// install applies config/default, and what refuses because its kind is too new once more.
func install(t testing.TB) {
	t.Helper()
	g := NewWithT(t)
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // as kubectl: what others need comes first
	built, err := krusty.MakeKustomizer(options).
		Run(filesys.MakeFsOnDisk(), filepath.Join("..", "..", "config", "default"))
	g.Expect(err).NotTo(HaveOccurred())
	var crds []string
	for _, r := range built.Resources() {
		content, err := r.Map()
		g.Expect(err).NotTo(HaveOccurred())
		u := &unstructured.Unstructured{Object: content}
		if u.GetKind() == "CustomResourceDefinition" {
			crds = append(crds, u.GetName())
		}
		g.Eventually(func() error { // an object of a kind that was made just now
			return bed.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u),
				client.FieldOwner("kubectl"))
		}, testbed.Patience, "100ms").Should(Succeed(), "%s %s", u.GetKind(), u.GetName())
	}
	g.Expect(crds).NotTo(BeEmpty())
	served(t, crds)
}

// served waits until the API server offers all of these kinds. It offers a new kind only after a moment, and the
// manager exits if a kind is missing.
func served(t testing.TB, crds []string) {
	t.Helper()
	kinds, err := discovery.NewDiscoveryClientForConfig(bed.Config)
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() ([]string, error) {
		list, err := kinds.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
		if err != nil {
			return nil, err
		}
		var names []string
		for _, r := range list.APIResources {
			names = append(names, r.Name+"."+v1alpha1.Group)
		}
		return names, nil
	}, testbed.Patience, "100ms").Should(ContainElements(crds), "the kinds of the CRDs")
}

// kubeconfig writes a file with the rights of the manager's ServiceAccount, or of the administrator if there is none.
func kubeconfig(t testing.TB, asAdministrator bool) string {
	t.Helper()
	return kubeconfigOf(t, &bed, asAdministrator)
}

// kubeconfigOf is kubeconfig for any API server.
func kubeconfigOf(t testing.TB, bed *testbed.Bed, asAdministrator bool) string {
	t.Helper()
	g := NewWithT(t)
	user := &clientcmdapi.AuthInfo{ClientCertificateData: bed.Config.CertData, ClientKeyData: bed.Config.KeyData}
	if !asAdministrator {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "cairn-system", Name: name}}
		token := &authenticationv1.TokenRequest{}
		g.Expect(bed.Client.SubResource("token").Create(t.Context(), account, token)).To(Succeed())
		user = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{
			"c": {Server: bed.Config.Host, CertificateAuthorityData: bed.Config.CAData},
		},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": user},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "c",
	}, file)).To(Succeed())
	return file
}

// process is a running manager.
type process struct {
	health, metrics string
	reader          string // the token with which get reads the metrics
	command         *exec.Cmd
	done            chan struct{}
	log             *buffer
}

// begin starts a manager. It is killed with the test.
func begin(t testing.TB, kubeconfig string, args ...string) *process {
	t.Helper()
	p := &process{health: address(t), metrics: address(t), done: make(chan struct{}), log: &buffer{}}
	args = append([]string{
		"--health-addr", p.health, "--metrics-addr", p.metrics, "--data-dir", t.TempDir(),
		"--mover-image", "mover:test",
	}, args...)
	p.command = exec.Command(os.Args[0], args...)
	// what memlimit makes of the limit in config/manager
	p.command.Env = append(os.Environ(), asManager+"=1", "KUBECONFIG="+kubeconfig, "RUNTIME_NAMESPACE=cairn-system",
		"GOMEMLIMIT=409MiB")
	p.command.Stdout, p.command.Stderr = p.log, p.log
	NewWithT(t).Expect(p.command.Start()).To(Succeed())
	go func() {
		defer close(p.done)
		_ = p.command.Wait()
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	return p
}

// end tells the manager to stop and returns its exit code.
func (p *process) end(t testing.TB) int {
	t.Helper()
	NewWithT(t).Expect(p.command.Process.Signal(syscall.SIGTERM)).To(Succeed())
	return p.code(t)
}

// code waits for the manager's end and returns its exit code.
func (p *process) code(t testing.TB) int {
	t.Helper()
	NewWithT(t).Eventually(p.done, testbed.Patience).Should(BeClosed(), "the manager ends")
	return p.command.ProcessState.ExitCode()
}

// get reads a page of the manager. It shows the token of somebody who is allowed to read all of the metrics address.
func (p *process) get(ctx context.Context, address, path string) (string, error) {
	if address == p.metrics {
		code, body, err := p.page(ctx, "https", path, p.reader)
		if code != http.StatusOK {
			err = errors.Join(err, fmt.Errorf("%s: %d", path, code))
		}
		return body, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", path, response.Status))
	}
	return string(body), err
}

// address returns a free address of this machine.
func address(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// buffer can be read while it is written to.
type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
