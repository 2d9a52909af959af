package testbed

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

const (
	quietLook = 200 * time.Millisecond
	// quietLooks is how often in a row nothing new must be seen. Together these looks last longer than the pauses of
	// a reconcile that meets a conflict.
	quietLooks = 4
)

// Quiet waits until the manager has neither read nor written in a namespace for a while, and returns its writes there
// so far. A reconcile that reads an old cache can write once more after the state for which a test waited. An object
// can also stand in a queue behind those of other tests: so all queues must have been empty meanwhile.
func (b *Bed) Quiet(t testing.TB, namespace string) []string {
	t.Helper()
	last, still, drained := -1, 0, false
	NewWithT(t).Eventually(func() int {
		if asked, underWay := b.requests(namespace); asked != last || underWay > 0 {
			last, still, drained = asked, 0, false
		} else {
			still++
		}
		drained = drained || still > 0 && queued(t) == 0
		if !drained {
			return 0
		}
		return still
	}, Patience, quietLook).
		Should(BeNumerically(">=", quietLooks), "the controllers have come to rest in "+namespace)
	return b.Writes(namespace)
}

// queued returns the number of objects in all work queues of the process.
func queued(t testing.TB) float64 {
	t.Helper()
	g := NewWithT(t)
	families, err := metrics.Registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	n, known := 0.0, false
	for _, family := range families {
		if family.GetName() == metrics.WorkQueueSubsystem+"_"+metrics.DepthKey {
			for _, queue := range family.GetMetric() {
				n, known = n+queue.GetGauge().GetValue(), true
			}
		}
	}
	g.Expect(known).To(BeTrue(), "the queues report their depth")
	return n
}

// Cached waits until the manager's cache holds objects as the API server has them. The caches of two kinds can lag
// differently: objects that a controller must see together must be there before the event that wakes it.
func (b *Bed) Cached(t testing.TB, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		key, is := client.ObjectKeyFromObject(object), object.DeepCopyObject().(client.Object)
		NewWithT(t).Eventually(func(g Gomega) {
			g.Expect(b.Client.Get(t.Context(), key, object)).To(Succeed())
			g.Expect(b.Manager.GetClient().Get(t.Context(), key, is)).To(Succeed())
			g.Expect(is.GetResourceVersion()).To(Equal(object.GetResourceVersion()))
		}, Patience, Interval).Should(Succeed(), "the cache has caught up")
	}
}
