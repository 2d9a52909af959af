package mariadbdump_test

import (
	"slices"
	"strings"
	"testing"
)

// FuzzWriter passes dumps of others on. However one is cut, the same comes out, and whoever reads it sees the quotes
// and comments of the dump.
func FuzzWriter(f *testing.F) {
	for _, seed := range []string{
		header + strings.Join(pieces, ""), header + strings.Join(pieces[:4], ""),
		header + pieces[10] + "DELIMITER ;;\nCREATE DEFINER=`a`@`b` FUNCTION `f`() RETURNS int\n;;\nDELIMITER ;\n",
		header + strings.Repeat("ALTER DATABASE `", 10), "",
	} {
		f.Add(seed, uint8(7))
	}
	f.Fuzz(func(t *testing.T, dump string, size uint8) {
		whole := through(t, dump, len(dump)+1)
		if pieces := through(t, dump, int(size)+1); whole != pieces {
			t.Fatalf("whole: %q; in pieces of %d: %q", whole, int(size)+1, pieces)
		}
		if touched.ReplaceAllString(whole, "") != touched.ReplaceAllString(dump, "") {
			t.Fatalf("%q became %q", dump, whole)
		}
		for _, reader := range []lexer{{}, {server: true}, {escapes: true}, {server: true, escapes: true}} {
			if !slices.Equal(reader.states(dump), reader.states(whole)) {
				t.Errorf("%+v: %q became %q", reader, dump, whole)
			}
		}
	})
}
