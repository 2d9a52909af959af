package enginetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	. "github.com/onsi/gomega"
)

// unusedAddress is an address of this machine for a server that is told where to listen. It lies below the ports that systems
// give to whoever asks for any: until the server listens no other test gets it.
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
	t.Fatalf("no port is unused: %v", err)
	return nil
}
