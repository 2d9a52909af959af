package kopia_test

import (
	"bytes"
	"io"
	"math/rand"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestPackBuffer: whatever way a pack comes in, it is whole, and takes little more memory than it has bytes.
func TestPackBuffer(t *testing.T) {
	g := NewWithT(t)
	data := make([]byte, 30<<20+1)
	rand.New(rand.NewSource(1)).Read(data)
	for name, in := range map[string]io.Reader{
		"by ReadFrom": bytes.NewReader(data),
		"by Write":    struct{ io.Reader }{io.MultiReader(bytes.NewReader(data[:1]), bytes.NewReader(data[1:]))},
	} {
		b := kopia.PackBuffer{}
		g.Expect(b.Write([]byte("left from an attempt before"))).NotTo(BeZero())
		b.Reset()
		out := io.Writer(&b)
		if name == "by Write" {
			out = struct{ io.Writer }{&b}
		}
		g.Expect(io.Copy(out, in)).To(BeEquivalentTo(len(data)))
		g.Expect(b.Length()).To(Equal(len(data)))
		g.Expect(bytes.Equal(b.Data(), data)).To(BeTrue(), name)
		g.Expect(cap(b.Data())).To(BeNumerically("<=", len(data)+len(data)/8+1<<20), name)
	}
}
