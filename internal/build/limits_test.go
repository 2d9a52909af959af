package build

import (
	"fmt"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// grouped formats 20000 as 20,000.
func grouped(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

func TestLimitsAreDocumented(t *testing.T) {
	g := NewWithT(t)
	raw, err := os.ReadFile("../../docs/reference/limits.md")
	g.Expect(err).NotTo(HaveOccurred())
	l := Limits{}.withDefaults()
	for _, row := range []string{
		"| entries of a BackupBatch, and of one of its sessions | " + grouped(v1alpha1.MaxSessionTargets) + " |",
		"| targets of a session, what selectors find counted | " + grouped(v1alpha1.MaxSessionTargets) + " |",
		"| targets of a BackupBatch, what selectors find counted | " + grouped(v1alpha1.MaxBatchTargets) + " |",
		"| its `maxTargets`: " + grouped(v1alpha1.DefaultMaxTargets) + " where nothing is said, " +
			grouped(v1alpha1.MaxSessionTargets) + " at most |",
		"| targets of all BackupBatches of a PolicySync, each selector counted with its `maxTargets` | " +
			grouped(l.Targets) + " |",
		"| files | " + grouped(l.Files) + " |",
		"| bytes of a file | " + grouped(int(l.FileBytes>>20)) + " MiB |",
		"| bytes of all files | " + grouped(int(l.Bytes>>20)) + " MiB |",
		"| documents | " + grouped(l.Documents) + " |",
		"| levels of nesting in a document | " + grouped(l.Depth) + " |",
		"| YAML aliases in a document | " + grouped(l.Aliases) + " |",
		"| values of a document, when its aliases are expanded | " + grouped(l.Nodes) + " |",
		"| values of all documents | " + grouped(l.AllNodes) + " |",
		"| values of a kustomization, each base as often as it is included | " + grouped(l.Kustomize) + " |",
	} {
		g.Expect(strings.Split(string(raw), "\n")).To(ContainElement(ContainSubstring(row)))
	}
}
