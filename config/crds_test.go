package config

import (
	"io/fs"
	"testing"

	. "github.com/onsi/gomega"
)

// kubectl apply repeats the object in an annotation, and annotations are limited to 256 KiB.
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
