package enginetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	. "github.com/onsi/gomega"
)

// unusedAddress returns an address of this machine for a server that must be told where to listen. Its port is below
// the ports that systems hand out on request, so no other test gets it before the server listens.
func unusedAddress(t testing.TB) *net.TCPAddr {
	t.Helper()
	const lowest, highest, tries = 16_000, 30_000, 100
	var err error
	for range tries {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", lowest+rand.IntN(highest-lowest))); err == nil {
			NewWithT(t).Expect(l.Close()).To(Succeed())
			return l.Addr().(*net.TCPAddr)
		}
	}
	t.Fatalf("find an unused port: %v", err)
	return nil
}
