package enginetest_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository/enginetest"
)

func TestEachServerHasAnAddressOfItsOwn(t *testing.T) {
	g := NewWithT(t)
	seen := map[string]bool{}
	for range 500 {
		addr := enginetest.UnusedAddress(t).String()
		g.Expect(seen).NotTo(HaveKey(addr))
		seen[addr] = true
	}
}
