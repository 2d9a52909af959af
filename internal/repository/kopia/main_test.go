package kopia_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository/kopia/cheapkeys"
)

func TestMain(m *testing.M) {
	cheapkeys.Use(m)
	os.Exit(m.Run())
}

// TestKeyDerivation: what is cheap in the tests is what the product asks for, and there it is not cheap.
func TestKeyDerivation(t *testing.T) {
	t.Parallel()
	l := initialized(t).Storage.Local
	format, err := os.ReadFile(filepath.Join(l.Path, l.Prefix, "kopia.repository.f"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(string(format)).To(MatchRegexp(`"keyAlgo":\s*"` + cheapkeys.Algorithm + `"`))
}
