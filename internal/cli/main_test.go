package cli_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cairn-backup/cairn/internal/cli"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var (
	bed    testbed.Bed
	update = flag.Bool("update", false, "write the golden files")
)

// pinned is the time of the program in all tests. It is so much later than every creation that all objects have the
// same age, even if the API server took minutes to start.
var pinned = time.Now().Add(12*time.Hour + 30*time.Minute).Truncate(time.Second)

func TestMain(m *testing.M) { os.Exit(bed.Run(m)) }

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
	return run(t, append(args, "--kubeconfig", bed.Kubeconfig)...)
}

func namespace(t testing.TB, name string) string {
	t.Helper()
	NewWithT(t).Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).
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
