package main

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestLog(t *testing.T) {
	g := NewWithT(t)
	l := newLog()
	var printed strings.Builder
	for line := range strings.Lines(`# what the go command says itself
{"Time":"2026-01-01T00:00:00Z","Action":"run","Package":"p","Test":"TestSerial"}
{"Time":"2026-01-01T00:00:00Z","Action":"output","Package":"p","Test":"TestSerial","Output":"=== RUN   TestSerial\n"}
{"Time":"2026-01-01T00:00:05Z","Action":"run","Package":"p","Test":"TestSerial/step"}
{"Time":"2026-01-01T00:00:09Z","Action":"pass","Package":"p","Test":"TestSerial/step"}
{"Time":"2026-01-01T00:00:10Z","Action":"pass","Package":"p","Test":"TestSerial"}
{"Time":"2026-01-01T00:00:10Z","Action":"run","Package":"p","Test":"TestParts"}
{"Time":"2026-01-01T00:00:12Z","Action":"run","Package":"p","Test":"TestParts/slow"}
{"Time":"2026-01-01T00:00:12Z","Action":"pause","Package":"p","Test":"TestParts/slow"}
{"Time":"2026-01-01T00:00:20Z","Action":"cont","Package":"p","Test":"TestParts/slow"}
{"Time":"2026-01-01T00:00:21Z","Action":"output","Package":"p","Test":"TestParts/slow","Output":"    x_test.go:1: it is broken\n"}
{"Time":"2026-01-01T00:00:50Z","Action":"fail","Package":"p","Test":"TestParts/slow"}
{"Time":"2026-01-01T00:00:50Z","Action":"fail","Package":"p","Test":"TestParts"}
{"Time":"2026-01-01T00:00:50Z","Action":"run","Package":"p","Test":"TestHangs"}
{"Time":"2026-01-01T00:01:10Z","Action":"output","Package":"p","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Time":"2026-01-01T00:01:10Z","Action":"fail","Package":"p"}
`) {
		printed.WriteString(l.add([]byte(line)))
	}
	g.Expect(printed.String()).To(Equal("# what the go command says itself\n=== RUN   TestSerial\n" +
		"    x_test.go:1: it is broken\npanic: test timed out\n"))
	g.Expect(l.failures()).
		To(Equal("### what the failed tests said\n--- FAIL: p TestParts/slow\n    x_test.go:1: it is broken\n" +
			"--- FAIL: p TestHangs\npanic: test timed out\n"))
	g.Expect(l.table()).To(Equal(`### seconds per scenario: 70 s in all, 62 s one after the other
    30 s  TestParts/slow: FAILED
    20 s  TestHangs
    10 s  TestSerial
     2 s  TestParts, without its parallel parts: FAILED
`))
}
