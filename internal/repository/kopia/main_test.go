package kopia_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/kopia/cheapkeys"
)

func TestMain(m *testing.M) {
	cheapkeys.Use(m)
	kopia.TrustYoungFiles()
	os.Exit(m.Run())
}

// TestKeyDerivation checks that the key derivation which is cheap in the tests is the one of the product, and
// expensive there.
func TestKeyDerivation(t *testing.T) {
	t.Parallel()
	l := initialized(t).Storage.Local
	format, err := os.ReadFile(filepath.Join(l.Path, l.Prefix, "kopia.repository.f"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(string(format)).To(MatchRegexp(`"keyAlgo":\s*"` + cheapkeys.Algorithm + `"`))
}
