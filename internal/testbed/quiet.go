package testbed

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	quietPatience = time.Minute
	quietLook     = 200 * time.Millisecond
	// quietLooks is how often in a row nothing new must be seen. Together these looks last longer than the pauses of
	// a reconcile that meets a conflict.
	quietLooks = 4
)

// Quiet waits until the manager has neither read nor written in a namespace for a while, and returns its writes there
// so far. A reconcile that reads an old cache can write once more after the state for which a test waited.
func (b *Bed) Quiet(t testing.TB, namespace string) []string {
	t.Helper()
	last, still := -1, 0
	NewWithT(t).Eventually(func() int {
		if asked, underWay := b.requests(namespace); asked != last || underWay > 0 {
			last, still = asked, 0
		} else {
			still++
		}
		return still
	}, quietPatience, quietLook).Should(Equal(quietLooks), "the controllers have come to rest in "+namespace)
	return b.Writes(namespace)
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
