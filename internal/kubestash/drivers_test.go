package kubestash_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/kubestash"
)

// TestDriversAreRefusedWithTheirSentence compares the list with the rules of the CRDs. A test with an API server shows
// that each rule applies to its driver.
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
		g.Expect(says).To(HaveLen(2), "the list has every sentence")
	}
}
