package cli_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

var (
	api        client.Client
	kubeconfig string
	update     = flag.Bool("update", false, "write the golden files")
)

// pinned is the time of the program in all tests. It is so much later than every creation that all objects have the
// same age, even if the API server took minutes to start.
var pinned = time.Now().Add(12*time.Hour + 30*time.Minute).Truncate(time.Second)

func TestMain(m *testing.M) { os.Exit(start(m)) }

func start(m *testing.M) int {
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	env := &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
	}
	config, err := env.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start API server:", err)
		return 1
	}
	defer func() { _ = env.Stop() }()
	scheme := runtime.NewScheme()
	_ = clientgoscheme.AddToScheme(scheme)
	_ = v1alpha1.AddToScheme(scheme)
	if api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		fmt.Fprintln(os.Stderr, "make client:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "cairn-cli-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a directory:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	kubeconfig = filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, env.KubeConfig, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, "write the kubeconfig:", err)
		return 1
	}
	return m.Run()
}

// result is the outcome of a run of the program.
type result struct {
	code     int
	out, err string
}

// run runs the program as a user would, without a cluster.
func run(t testing.TB, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := cli.Run(t.Context(), command.Options{
		IOStreams: genericiooptions.IOStreams{In: new(bytes.Buffer), Out: &out, ErrOut: &errOut},
		Program:   "cairn", Clock: clocktesting.NewFakePassiveClock(pinned), Poll: 20 * time.Millisecond, Width: 100,
	}, args)
	return result{code, out.String(), errOut.String()}
}

// runIn runs it against the API server of the tests.
func runIn(t testing.TB, args ...string) result {
	t.Helper()
	return run(t, append(args, "--kubeconfig", kubeconfig)...)
}

func namespace(t testing.TB, name string) string {
	t.Helper()
	NewWithT(t).Expect(api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).
		To(Succeed())
	return name
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
