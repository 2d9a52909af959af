package snapshot

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/kube/index"
)

// Each answer costs lists of the whole cluster: those that wait at the same time share one. Whoever comes while the API
// server answers can know of a restore that the answer lacks, and gets a later one.
func TestAnAnswerIsSharedByThoseThatCameBeforeTheQuestion(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var s shared
	var during uint64
	asked := 0
	get := func(arrived uint64) {
		t.Helper()
		_, err := s.get(arrived, func() (index.InUse, error) {
			asked++
			during = s.arrive()
			return index.InUse{}, nil
		})
		g.Expect(err).NotTo(HaveOccurred())
	}
	first, second := s.arrive(), s.arrive()
	get(first)
	get(second)
	g.Expect(asked).To(Equal(1))
	get(during)
	g.Expect(asked).To(Equal(2))
	late := s.arrive()
	_, err := s.get(late, func() (index.InUse, error) { return index.InUse{}, errors.New("no answer") })
	g.Expect(err).To(HaveOccurred())
	get(late)
	g.Expect(asked).To(Equal(3), "an error is no answer")
}
