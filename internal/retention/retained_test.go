package retention

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A Snapshot that retention or the wipe of its Repository removes is deleted, too: the first reason stays.
func TestMarkDeletedKeepsAnEarlierReason(t *testing.T) {
	g, s := NewWithT(t), &v1alpha1.Snapshot{}
	g.Expect(MarkDeleted(s)).To(BeTrue())
	g.Expect(conditions.GetReason(s, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonDeleted))
	MarkRepositoryWiped(s)
	g.Expect(MarkDeleted(s)).To(BeFalse())
	g.Expect(conditions.GetReason(s, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonRepositoryWiped))
}
