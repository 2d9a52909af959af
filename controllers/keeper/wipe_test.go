package keeper_test

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// expectWiped waits for the reason of the Repository's condition Wiped.
func (s *shop) expectWiped(reason, message string) {
	s.t.Helper()
	bed.Eventually(s.t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionWiped)).To(Equal(reason))
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionWiped)).To(ContainSubstring(message))
	}, reason)
}

// A storage can be edited to name another place: to find nothing there would let every Snapshot count as removed.
func TestAWipeOfAnotherPlaceIsNotDone(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	o := s.snapshot(s.repository, 1, good)
	prefix := s.storage.Spec.Storage.S3.Prefix
	bed.Edit(t, s.storage, func() { s.storage.Spec.Storage.S3.Prefix = "elsewhere" })
	bed.Cached(t, s.storage)
	del(t, s.repository)
	s.expectWiped(v1alpha1.ReasonStorageChanged, "now names another place")
	s.noJob("nothing is looked for in another place")
	expectKept(t, o)

	bed.Edit(t, s.storage, func() { s.storage.Spec.Storage.S3.Prefix = prefix })
	job, keep := s.job()
	g.Expect(keep.Keep[0].Wipe).To(BeTrue())
	g.Expect(keep.Storage.Spec.S3.Prefix).To(Equal(prefix))
	s.did(job, "")
	recorded(t, o)
	gone(t, s.repository, "its data is gone")
}
