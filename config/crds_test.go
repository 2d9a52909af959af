package config

import (
	"io/fs"
	"testing"

	. "github.com/onsi/gomega"
)

// A client-side apply repeats an object in an annotation, for which there are 256 KiB.
func TestEveryCRDIsBelow200KiB(t *testing.T) {
	g := NewWithT(t)
	paths, err := fs.Glob(CRDs, "crd/bases/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(paths).NotTo(BeEmpty())
	for _, path := range paths {
		text, err := CRDs.ReadFile(path)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(len(text)).To(BeNumerically("<", 200<<10), path)
	}
}
