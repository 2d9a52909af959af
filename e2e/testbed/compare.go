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
	want, err := manifestLines(original)
	if err != nil {
		return "", 0, fmt.Errorf("the list of the original: %w", err)
	}
	got, err := manifestLines(restored)
	if err != nil {
		return "", 0, fmt.Errorf("the list of the restored tree: %w", err)
	}
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

// manifestLines leaves out the last line, the sum over the others. A list without it was cut off on its way.
func manifestLines(manifest string) ([]string, error) {
	body, sum := "", strings.TrimSuffix(manifest, "\n")
	if i := strings.LastIndexByte(sum, '\n'); i >= 0 {
		body, sum = sum[:i+1], sum[i+1:]
	}
	hash := sha256.Sum256([]byte(body))
	lines := strings.Count(body, "\n")
	if want := fmt.Sprintf("sha256 %s entries %d", hex.EncodeToString(hash[:]), lines); sum != want {
		return nil, fmt.Errorf("it is not whole: after %d lines, the last is %q instead of %q", lines, sum, want)
	}
	return strings.Split(body, "\n")[:lines], nil
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
