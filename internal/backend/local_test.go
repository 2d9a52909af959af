package backend_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/repository"
)

// TestAVolumeWithAFIFOHoldsNobodyUp reads a file that somebody replaced by a FIFO in the volume of a storage.
func TestAVolumeWithAFIFOHoldsNobodyUp(t *testing.T) {
	for title, hold := range map[string]bool{"without a writer": false, "with a writer that never writes": true} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			g, dir := NewWithT(t), t.TempDir()
			name := filepath.Join(dir, "metadata.yaml")
			g.Expect(syscall.Mkfifo(name, 0o600)).To(Succeed())
			if hold {
				f, err := os.OpenFile(name, os.O_RDWR, 0)
				g.Expect(err).NotTo(HaveOccurred())
				t.Cleanup(func() { _ = f.Close() })
			}
			store, err := backend.Open(repository.Storage{Local: &repository.Local{Path: dir}})
			g.Expect(err).NotTo(HaveOccurred())
			over := make(chan error, 1)
			go func() {
				_, err := store.Get(t.Context(), "metadata.yaml")
				over <- err
			}()
			g.Eventually(over, "20s").Should(Receive(&err), "the read ends")
			g.Expect(err).To(MatchError(ContainSubstring(
				"metadata.yaml is no regular file: remove it from the storage")))
		})
	}
}
