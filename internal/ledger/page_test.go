package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestPage(t *testing.T) {
	g := NewWithT(t)
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("Deployment/d%02d", i))
	}
	policies := []Policy{
		{
			Namespace: "shop", Kind: "BackupBatch", Name: "shop", Targets: many, LastResult: "Failed",
			LastReason:  "TargetsFailed",
			LastSuccess: slot.Add(-48 * time.Hour), Next: slot.In(time.FixedZone("x", 7200)), Late: true,
		},
		{
			Namespace: "blog", Kind: "BackupConfiguration", Name: "uploads",
			Targets:    []string{"PersistentVolumeClaim/uploads"},
			LastResult: "Succeeded", LastReason: "Succeeded", LastSuccess: slot, Next: slot.Add(24 * time.Hour),
		},
		{Namespace: "blog", Kind: "BackupConfiguration", Name: "a|b_[x](y)", Targets: []string{"Job/<b>\n# x"}},
	}
	page := string(Page("production", policies))
	golden(t, "page.md", page)
	slices.Reverse(policies)
	g.Expect(string(Page("production", policies))).To(Equal(page))
	golden(t, "page-empty.md", string(Page("production", nil)))
}
