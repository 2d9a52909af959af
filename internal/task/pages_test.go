package task

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// page returns a page with this text.
func page(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	_, err := zip.Write([]byte(text))
	NewWithT(t).Expect(errors.Join(err, zip.Close())).To(Succeed())
	return out.Bytes()
}

// many returns a line with n components that say nothing.
func many(n int, component string) string {
	var out strings.Builder
	out.WriteString(`{"name":"web","components":{"c":` + component)
	for i := range n {
		fmt.Fprintf(&out, `,"%d":%s`, i, component)
	}
	return out.String() + "}}\n"
}

// A page of a few kilobytes comes from a mover, and what it says from the backend.
func TestALineInAPageDoesNotGrowInTheManager(t *testing.T) {
	for name, text := range map[string]string{
		"a long line":           `{"name":"` + strings.Repeat("x", 60<<20) + `"}` + "\n",
		"many components":       many(150_000, "{}"),
		"many empty components": many(150_000, "null"),
		"some more components":  many(maxComponents, "{}"),
		"many statistics": `{"name":"web","components":{"c":{"volumeSnapshotterStats":[{}` +
			strings.Repeat(",{}", 600_000) + "]}}}\n",
		"many lines": strings.Repeat("{}\n", maxLines+1),
		"no end":     `{"name":"web"}`,
		"no JSON":    "name: web\n",
	} {
		content := page(t, text)
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := ReadPage(content, func(Found) error { return nil })
			runtime.ReadMemStats(&after)
			g.Expect(err).To(MatchError(ErrPage))
			if name != "many lines" { // which are many small ones
				g.Expect(after.TotalAlloc - before.TotalAlloc).To(BeNumerically("<", 16<<20))
			}
		})
	}
}

// What does not fit into a line loses its components, so that it holds up no other Snapshot.
func TestALargeSnapshotHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	components := func(n int, c v1alpha1.Component) map[string]v1alpha1.Component {
		out := map[string]v1alpha1.Component{}
		for i := range n {
			out[fmt.Sprint("c", i)] = c
		}
		return out
	}
	for name, c := range map[string]struct {
		found      Found
		components int
		total      int32
	}{
		"as large as the API allows": {
			Found{Total: 2000, Components: components(2000, v1alpha1.Component{})}, 2000, 2000,
		},
		"too many components": {Found{Total: 2001, Components: components(2001, v1alpha1.Component{})}, 0, 0},
		"long components": {Found{Total: 600, Components: components(600, v1alpha1.Component{
			Path: strings.Repeat("x", 4096),
		})}, 0, 0},
		"many braces": {Found{Total: 20, Components: components(20, v1alpha1.Component{
			Error: strings.Repeat("{", 2000),
		})}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			var pages [][]byte
			w := PageWriter{Write: func(_ int, content []byte) error {
				pages = append(pages, content)
				return nil
			}}
			c.found.Name = "large"
			g.Expect(w.Add(c.found)).To(Succeed())
			g.Expect(w.Add(Found{Name: strings.Repeat("x", 3<<20)})).To(Succeed())
			g.Expect(w.Add(Found{Name: "next"})).To(Succeed())
			_, _, err := w.Close()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(w.Dropped).To(BeEquivalentTo(1), "the one whose name is too long")
			var read []Found
			g.Expect(ReadPage(pages[0], func(f Found) error {
				read = append(read, f)
				return nil
			})).To(Succeed())
			g.Expect(read).To(HaveLen(2))
			g.Expect(read[0].Components).To(HaveLen(c.components))
			g.Expect(read[0].Total).To(Equal(c.total))
			g.Expect(read[1].Name).To(Equal("next"))
		})
	}
}
