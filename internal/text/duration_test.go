package text

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestDuration(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Duration(41*time.Second + 499*time.Millisecond)).To(Equal("41s"))
	g.Expect(Duration(time.Hour + 2*time.Minute + 3*time.Second)).To(Equal("1h2m3s"))
	g.Expect(Duration(-time.Minute)).To(Equal("0s"))
}
