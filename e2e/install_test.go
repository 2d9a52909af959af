package e2e

import (
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// TestInstall applies config/default with kubectl, in both ways that users have. The API server checks all of it.
func TestInstall(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	dir := filepath.Join(root(t), "config", "default")
	for name, flags := range map[string][]string{
		"client-side": {"--dry-run=server"},
		"server-side": {"--dry-run=server", "--server-side", "--force-conflicts"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, err := kubectl(t, bed, "", append([]string{"apply", "-k", dir}, flags...)...)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(out).To(ContainSubstring("deployment.apps/cairn-manager"))
		})
	}
}
