package ledger

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/testbed/peak"
)

// poisoned returns a parcel that has the middle n times. The test needs little memory for it.
func poisoned(t *testing.T, before, middle string, n int, after string) []byte {
	t.Helper()
	g := NewWithT(t)
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	g.Expect(err).NotTo(HaveOccurred())
	for _, s := range []struct {
		text  string
		times int
	}{{before, 1}, {middle, n}, {after, 1}} {
		for range s.times {
			_, err := io.WriteString(z, s.text)
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	g.Expect(z.Close()).To(Succeed())
	return out.Bytes()
}

// TestPoisonedParcels unpacks what others put into the outbox of a Ledger: small ConfigMaps that need much memory.
func TestPoisonedParcels(t *testing.T) {
	const head, tail = `{"version":1,"records":[`, `]}`
	for name, tt := range map[string]struct {
		before, middle string
		n              int
		after, says    string
	}{
		"many empty records": {head, "{},", 5 << 20, "{}" + tail, "is not the path of a record"},
		"many short records": {
			head, `{"path":"records/a"},`, 1 << 20, `{"path":"records/a"}` + tail, "more than 65536 files",
		},
		"a long file": {
			head + `{"path":"records/a","content":"`, strings.Repeat("x", 1<<10), 60 << 10, `"}` + tail,
			"more than 16777216 bytes",
		},
		"many files": {
			head, `{"path":"records/a","content":"` + strings.Repeat("x", 1<<20) + `"},`, 70,
			`{"path":"records/a"}` + tail, "more than 67109888 bytes",
		},
		"what is no record at all": {
			`{"version":1,"more":[`, "[],", 5 << 20, "[]" + tail, `"more"`,
		},
		"a path of a megabyte": {
			head + `{"path":"records/`, "a", 1 << 20, `"}` + tail, "not the path of a record",
		},
		"a long name": {
			head + `{"path":"records/a","object":{"name":"`, "a", 1 << 20, `"}}` + tail,
			"longer than 8192 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			most := peak.Of(t, func(t *testing.T) {
				t.Helper()
				_, err := Unpack(poisoned(t, tt.before, tt.middle, tt.n, tt.after))
				NewWithT(t).Expect(err).To(MatchError(ErrParcel))
				NewWithT(t).Expect(fmt.Sprint(err)).To(ContainSubstring(tt.says))
			})
			g.Expect(most).To(BeNumerically("<", 160<<20), "bytes")
		})
	}
}
