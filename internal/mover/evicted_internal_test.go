package mover

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A server that told how many keys it had evicted, and no longer does, can have evicted some of those restored.
func TestEvictionsThatAreNoLongerTold(t *testing.T) {
	g, m, silent := NewWithT(t), &Mover{}, &v1alpha1.ResolvedStream{}
	g.Expect(m.evictedSince(t.Context(), silent, 7)).To(HaveField("Reason", v1alpha1.ReasonVerificationFailed))
	g.Expect(m.evictedSince(t.Context(), silent, -1)).To(BeNil(), "it never told")
}
