package backupstorage

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestTheDirectoriesOfAnInitJobLieEvenly(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	all := []string{"a", "b", "c", "d", "e", "f"}
	g.Expect(spread(all, 6)).To(Equal(all))
	g.Expect(spread(all, 3)).To(Equal([]string{"a", "c", "e"}))
	g.Expect(spread(all, 4)).To(Equal([]string{"a", "b", "d", "e"}))
	g.Expect(spread(all, 0)).To(BeEmpty())
}
