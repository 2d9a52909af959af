package testbed

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

const (
	quietPatience = time.Minute
	quietLook     = 300 * time.Millisecond
)

// Quiet waits until the manager has written nothing into a namespace between two looks, and gives what it has written so
// far. A reconcile that reads an old cache may write once more after the state that a test waited for.
func (b *Bed) Quiet(t testing.TB, namespace string) []string {
	t.Helper()
	last := "not looked yet"
	NewWithT(t).Eventually(func(g Gomega) {
		now := strings.Join(b.Writes(namespace), "\n")
		before := last
		last = now
		g.Expect(now).To(Equal(before))
	}, quietPatience, quietLook).Should(Succeed(), "the controllers have come to rest in "+namespace)
	return b.Writes(namespace)
}
