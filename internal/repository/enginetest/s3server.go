package enginetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

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
	addr := unusedAddress(t).String()
	cmd := exec.Command(bin, append(append([]string{"-q", "--port", addr}, args...), "posix", dir)...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+S3AccessKey, "ROOT_SECRET_KEY="+S3SecretKey)
	g.Expect(cmd.Start()).To(Succeed())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // fails because it was killed
	})
	g.Eventually(func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}).WithTimeout(connectTimeout).Should(Succeed(), "the S3 server listens")
	return repository.S3{
		Endpoint: addr, Bucket: "bucket", Region: "us-east-1", AccessKey: S3AccessKey,
		SecretKey: S3SecretKey, Plain: len(args) == 0,
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

// unusedAddress returns an address of this machine for a server that must be told where to listen. Its port is below
// the ports that systems hand out on request, so no other test gets it before the server listens.
func unusedAddress(t testing.TB) *net.TCPAddr {
	t.Helper()
	const lowest, highest, tries = 16_000, 30_000, 100
	var err error
	for range tries {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", lowest+rand.IntN(highest-lowest))); err == nil {
			NewWithT(t).Expect(l.Close()).To(Succeed())
			return l.Addr().(*net.TCPAddr)
		}
	}
	t.Fatalf("find an unused port: %v", err)
	return nil
}
