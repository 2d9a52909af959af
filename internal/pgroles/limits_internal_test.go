package pgroles

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// A table can have rows of any length, and a comment too.
func TestLittleOfALongLineIsKept(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	w := NewWriter(io.Discard)
	piece := bytes.Repeat([]byte("x"), 100_000)
	for _, start := range []string{header + "COMMENT ON ROLE eve IS '", "';\n\\connect shop\n"} {
		_, err := w.Write([]byte(start))
		g.Expect(err).NotTo(HaveOccurred())
		for range 100 {
			_, err = w.Write(piece)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(len(w.rest)).To(BeNumerically("<=", longest))
			g.Expect(len(w.later.line)).To(BeNumerically("<=", compared))
		}
	}
	g.Expect(w.later.line).To(HaveLen(compared), "this is what the dump ends with")
}

// Each block prepares the databases that are dropped after it.
func TestMoreDatabasesThanAreKept(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var out bytes.Buffer
	w := NewWriter(&out)
	_, err := io.WriteString(w, header)
	g.Expect(err).NotTo(HaveOccurred())
	const count = 2*mostDrops + 1
	for n := range count {
		_, err = fmt.Fprintf(w, "%sd%d;\n", dropDatabase, n)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(len(w.drops)).To(BeNumerically("<=", mostDrops))
	}
	g.Expect(w.Flush()).To(Succeed())
	g.Expect(strings.Count(out.String(), "DO $")).To(Equal(3))
	prepared, dropped := map[string]bool{}, 0
	for line := range strings.Lines(out.String()) {
		if name, ok := strings.CutPrefix(line, dropDatabase); ok {
			g.Expect(prepared[strings.TrimSuffix(name, ";\n")]).To(BeTrue(), name)
			dropped++
		} else if strings.HasPrefix(line, "DO ") {
			for _, name := range strings.Split(line, "$name$") {
				prepared[name] = true
			}
		}
	}
	g.Expect(dropped).To(Equal(count))
}
