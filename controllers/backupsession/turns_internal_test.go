package backupsession

import (
	"runtime"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
)

// While the API server is slow for one namespace, the runs of another go on.
func TestTheTurnOfANamespaceHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var turns turns
	end := turns.take("slow")
	turns.take("other")()
	end()
	g.Expect(turns.namespaces).To(BeEmpty(), "deleted namespaces cost nothing")
}

func TestOneHasTheTurnOfANamespace(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var turns turns
	var wg sync.WaitGroup
	inside, most, total := 0, 0, 0
	for range 8 {
		wg.Go(func() {
			for range 500 {
				end := turns.take("shop")
				inside++
				runtime.Gosched()
				most, total = max(most, inside), total+1
				inside--
				end()
			}
		})
	}
	wg.Wait()
	g.Expect(most).To(Equal(1))
	g.Expect(total).To(Equal(8*500), "no turn is lost")
	g.Expect(turns.namespaces).To(BeEmpty())
}
