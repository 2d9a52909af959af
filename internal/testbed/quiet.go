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
	// quietLooks is how often in a row nothing new is to be seen. Together they last longer than the pauses of a reconcile that
	// meets a conflict.
	quietLooks = 4
)

// Quiet waits until the manager neither reads nor writes in a namespace for a while, and gives what it has written there so
// far. A reconcile that reads an old cache may write once more after the state that a test waited for.
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

// Cached waits until the manager's cache has objects as the API server has them. The caches of two kinds may lag differently: what
// a controller is to see together must be there before that which wakes it.
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
