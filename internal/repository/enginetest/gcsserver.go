package enginetest

import (
	"io"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

// StartGCS starts fake-gcs-server, which stops with the test, and returns a bucket on it. Google's clients find the
// server through the environment, so a test that calls StartGCS can't be parallel.
func StartGCS(t testing.TB) repository.GCS {
	t.Helper()
	g := NewWithT(t)
	addr := unusedAddress(t)
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		Scheme: "http", Host: "127.0.0.1", Port: uint16(addr.Port), PublicHost: addr.String(), ExternalURL: "http://" +
			addr.String(), Writer: io.Discard,
	})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Stop)
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: "bucket"})
	t.Setenv("STORAGE_EMULATOR_HOST", addr.String())
	return repository.GCS{Bucket: "bucket", Ambient: true}
}
