package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/testbed/peak"
)

// TestPoisonedYAML builds directories that are within all limits, and mean as much as they can.
func TestPoisonedYAML(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\n"
	l := Limits{}.withDefaults()
	perFile := l.Nodes * 9 / 10
	files := l.AllNodes / perFile
	empty := strings.Repeat("- {}\n", perFile)
	pairs := strings.Repeat("- {a: }\n", perFile/3)
	// ninety aliases of a list: few bytes, many values
	aliases := "a: &a [" + strings.Repeat("{}, ", perFile/91) + "{}]\nb: [" + strings.Repeat("*a, ", 89) + "*a]\n"
	long := strings.Repeat("x", int(l.FileBytes)-1<<10)
	// As much as kustomize gets is a part of what files can have.
	most := func(n int) string { return head + "a:\n" + strings.Repeat("- {a: }\n", n/3) }
	for name, tt := range map[string]struct {
		text  string
		files int
	}{
		"as much as kustomize gets": {most(l.Kustomize * 9 / 10), 1},

		"empty maps": {head + "a:\n" + empty, files}, "small maps": {head + "a:\n" + pairs, files},
		"aliases":    {head + aliases, files},
		"long texts": {head + "data: {a: " + long + "}\n", int(l.Bytes / l.FileBytes)},
	} {
		for _, kustomize := range []bool{false, true} {
			how := "files"
			if kustomize {
				how = "a kustomization"
			}
			t.Run(name+" in "+how, func(t *testing.T) {
				t.Parallel()
				g := NewWithT(t)
				g.Expect(peak.Of(t, func(t *testing.T) {
					t.Helper()
					g, dir := NewWithT(t), t.TempDir()
					kustomization := "resources:\n"
					for i := range tt.files {
						file := fmt.Sprintf("f%d.yaml", i)
						kustomization += "- " + file + "\n"
						text := fmt.Appendf(nil, tt.text, i)
						g.Expect(os.WriteFile(filepath.Join(dir, file), text, 0o600)).To(Succeed())
					}
					if kustomize {
						g.Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600)).
							To(Succeed())
					}
					_, err := Build(t.Context(), dir, ".", Options{Namespace: "x"})
					if err != nil {
						t.Logf("%.300s", err)
					}
				})).To(BeNumerically("<", 320<<20), "bytes")
			})
		}
	}
}
