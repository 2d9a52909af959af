package enginetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
)

// Keys of the S3 server.
const (
	S3AccessKey = "testkey"
	S3SecretKey = "testsecret"

	connectTimeout = time.Minute
)

// StartS3 starts a real S3 server (versitygw) that stops with the test, and returns its bucket. It passes args to the
// program. The program is the one that VERSITYGW names, or the one that `make cluster-up` builds.
func StartS3(t testing.TB, args ...string) repository.S3 {
	t.Helper()
	g := NewWithT(t)
	bin := s3Program(t)
	dir := t.TempDir()
	g.Expect(os.Mkdir(filepath.Join(dir, "bucket"), 0o755)).To(Succeed())
	addr := UnusedAddress(t).String()
	cmd := exec.Command(bin, append(append([]string{"-q", "--port", addr}, args...), "posix", dir)...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+S3AccessKey, "ROOT_SECRET_KEY="+S3SecretKey)
	startServer(t, cmd, addr)
	return repository.S3{
		Endpoint: addr, Bucket: "bucket", Region: "us-east-1", AccessKey: S3AccessKey,
		SecretKey: S3SecretKey, Plain: len(args) == 0, Egress: egress.Anywhere(),
	}
}

func s3Program(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("VERSITYGW"); bin != "" {
		return bin
	}
	cache, err := os.UserCacheDir()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	found, err := filepath.Glob(filepath.Join(cache, "cairn", "cluster", "*", "versitygw"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	if len(found) == 0 {
		t.Skip("no S3 server: run `make cluster-up` once, or set VERSITYGW to a versitygw v1.0.14 program")
	}
	return found[len(found)-1]
}

// startServer starts a server that stops with the test, and waits until it listens on addr. A server that stops
// earlier fails the test with what it said.
func startServer(t testing.TB, cmd *exec.Cmd, addr string) {
	t.Helper()
	g := NewWithT(t)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	g.Expect(cmd.Start()).To(Succeed())
	ended := make(chan string, 1)
	go func() { ended <- fmt.Sprint(cmd.Wait()) }()
	t.Cleanup(func() {
		select {
		case how := <-ended:
			t.Errorf("%s stopped before the test: %s: %s", cmd.Path, how, said.Bytes()[max(0, said.Len()-4000):])
		default:
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	g.Eventually(func() error {
		if len(ended) > 0 {
			return StopTrying("the server stopped")
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}).WithTimeout(connectTimeout).Should(Succeed(), "the server listens")
}

// UnusedAddress returns an address of this machine for a server that must be told where to listen. Its port is below
// the ports that systems hand out on request, and nobody else gets it from UnusedAddress until the test ends: a server
// may take seconds until it listens, and two tests with one address would share the server of the first.
func UnusedAddress(t testing.TB) *net.TCPAddr {
	t.Helper()
	const lowest, highest, tries = 16_000, 30_000, 100
	for range tries {
		port := lowest + rand.IntN(highest-lowest)
		ours, err := net.Listen("unix", fmt.Sprint("@cairn-test-port-", port)) // a name without a file
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			NewWithT(t).Expect(l.Close()).To(Succeed())
			t.Cleanup(func() { _ = ours.Close() })
			return l.Addr().(*net.TCPAddr)
		}
		_ = ours.Close()
	}
	t.Fatal("no unused port")
	return nil
}
