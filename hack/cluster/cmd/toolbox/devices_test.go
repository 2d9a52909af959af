package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestFillingLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "file")
	contents := map[string]bool{}
	for _, text := range []string{"one", "another", "one"} {
		g.Expect(os.WriteFile(file, make([]byte, 100_000), 0o600)).To(Succeed())
		g.Expect(fill(t.Context(), []string{file, text})).To(Succeed())
		b, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(b).To(HaveLen(100_000))
		g.Expect(bytes.HasSuffix(b, make([]byte, 16))).To(BeFalse(), "to the end")
		contents[string(b)] = true
	}
	g.Expect(contents).To(HaveLen(2), "the same text is the same content")
}
