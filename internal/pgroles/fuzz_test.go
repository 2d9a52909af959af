package pgroles_test

import (
	"strings"
	"testing"
)

// FuzzWriter passes dumps of others on. However one is cut, the same comes out. Nothing is taken away after the first
// line that connects to a database, and what is no dump of a cluster stays as it is.
func FuzzWriter(f *testing.F) {
	for _, seed := range []string{
		dump, dump + "\\connect shop\nSET default_transaction_read_only = off;\nCOPY t FROM stdin;\nx\n\\.\n",
		"--\n-- PostgreSQL database dump\nDROP ROLE x;\n", "--\n-- PostgreSQL database cluster dump\n\\connect a", "",
	} {
		f.Add(seed, uint8(7))
	}
	f.Fuzz(func(t *testing.T, dump string, size uint8) {
		whole := passed(t, dump, len(dump)+1)
		if pieces := passed(t, dump, int(size)+1); whole != pieces {
			t.Fatalf("whole: %q; in pieces of %d: %q", whole, int(size)+1, pieces)
		}
		if !strings.HasPrefix(dump, "--\n-- PostgreSQL database cluster dump\n") {
			if whole != dump {
				t.Fatalf("%q became %q", dump, whole)
			}
			return
		}
		// Each line becomes one statement, with some added around databases and connections.
		if most := 10_000 + 4_000*strings.Count(dump, "\n") + 8*len(dump); len(whole) > most {
			t.Errorf("%d bytes became %d", len(dump), len(whole))
		}
	})
}
