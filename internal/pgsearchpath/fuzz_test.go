package pgsearchpath_test

import (
	"strings"
	"testing"
)

// FuzzWriter passes dumps of others on. However one is cut, the same comes out, of the same length, and it differs
// only in lines that set the search path.
func FuzzWriter(f *testing.F) {
	for _, seed := range []string{
		script + empty + connect + empty + "data\n" + empty, archive + "\xff\x00" + entry + empty + "rest",
		archive, "--\n-- Postgre", script + connect + "x\n" + strings.Repeat("y", 1100) + "\n" + empty, "",
	} {
		f.Add(seed, uint8(7))
	}
	f.Fuzz(func(t *testing.T, dump string, size uint8) {
		whole, err := through(dump, len(dump)+1)
		pieces, errOfPieces := through(dump, int(size)+1)
		if whole != pieces || (err == nil) != (errOfPieces == nil) {
			t.Fatalf("whole: %q, %v; in pieces of %d: %q, %v", whole, err, int(size)+1, pieces, errOfPieces)
		}
		if err != nil {
			return
		}
		if len(whole) != len(dump) {
			t.Fatalf("%d bytes became %d", len(dump), len(whole))
		}
		if back := strings.ReplaceAll(whole, public, empty); back != strings.ReplaceAll(dump, public, empty) {
			t.Errorf("%q became %q", dump, whole)
		}
	})
}
