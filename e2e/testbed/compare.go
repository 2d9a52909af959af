package testbed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// SameTree compares two manifests of toolbox. It returns the digest of what both hold: names, types, modes, owners,
// times, sizes, link targets and content. A restore writes blocks of zeros as holes, so a file can have become sparse.
// A file that was sparse must still be sparse.
func SameTree(original, restored string) (digest string, entries int, err error) {
	want, got := manifestLines(original), manifestLines(restored)
	if len(want) != len(got) {
		return "", 0, fmt.Errorf("the original has %d entries, the restored tree has %d", len(want), len(got))
	}
	for i := range want {
		if want[i] != got[i] && sparse(want[i]) != got[i] {
			return "", 0, fmt.Errorf("entries differ:\n  %s\n  %s", want[i], got[i])
		}
		want[i] = sparse(want[i])
	}
	sum := sha256.Sum256([]byte(strings.Join(want, "\n")))
	return hex.EncodeToString(sum[:]), len(want), nil
}

// manifestLines leaves out the last line, the sum over the others.
func manifestLines(manifest string) []string {
	lines := strings.Split(strings.TrimRight(manifest, "\n"), "\n")
	return lines[:len(lines)-1]
}

// sparse returns the line of a file as it would be if the file were sparse, which is the seventh field.
func sparse(line string) string {
	fields := strings.SplitN(line, " ", 8)
	if len(fields) < 8 || fields[0] != "file" {
		return line
	}
	fields[6] = "yes"
	return strings.Join(fields, " ")
}
