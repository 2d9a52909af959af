package kubestash_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/kubestash"
)

// TestDriversAreRefusedWithTheirSentence holds the list against the rules of the CRDs. That each rule is about its driver is
// shown where an API server applies them.
func TestDriversAreRefusedWithTheirSentence(t *testing.T) {
	schemas := crds(t)
	for kind, path := range map[string]string{"Addon": "spec.backupTasks[].driver", "Repository": "spec.driver"} {
		g := NewWithT(t)
		field, ok := kubestash.At(schemas[kind], path)
		g.Expect(ok).To(BeTrue(), path)
		var says []string
		for _, rule := range field.XValidations {
			says = append(says, rule.Message)
		}
		for _, d := range kubestash.Drivers {
			g.Expect(says).To(ContainElement(d.Says), d.Name)
		}
		g.Expect(says).To(HaveLen(2), "every sentence is in the list")
	}
}
