package testbed

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestSameTree(t *testing.T) {
	const sum = "sha256 x entries 2\n"
	for name, tc := range map[string]struct {
		original, restored string
		want               string
	}{
		"equal": {"dir 0755 0 0 1.0 \".\"\n" + sum, "dir 0755 0 0 1.0 \".\"\n" + sum, ""},
		"zeros became a hole": {
			"file 0644 0 0 1.0 10 no aa \"f\"\n" + sum, "file 0644 0 0 1.0 10 yes aa \"f\"\n" + sum, "",
		},
		"a hole was filled": {
			"file 0644 0 0 1.0 10 yes aa \"f\"\n" + sum, "file 0644 0 0 1.0 10 no aa \"f\"\n" + sum, "entries differ",
		},
		"other content": {
			"file 0644 0 0 1.0 10 no aa \"f\"\n" + sum, "file 0644 0 0 1.0 10 no ab \"f\"\n" + sum, "entries differ",
		},
		"other mode": {
			"file 0644 0 0 1.0 10 no aa \"f\"\n" + sum, "file 0600 0 0 1.0 10 no aa \"f\"\n" + sum, "entries differ",
		},
		"an entry is missing": {
			"dir 0755 0 0 1.0 \".\"\ndir 0755 0 0 1.0 \"a\"\n" + sum, "dir 0755 0 0 1.0 \".\"\n" + sum, "has 1",
		},
		"an entry of another's name": {
			"file 0644 0 0 1.0 10 no aa \"no yes\"\n" + sum, "file 0644 0 0 1.0 10 no aa \"yes no\"\n" + sum,
			"entries differ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, _, err := SameTree(tc.original, tc.restored)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}
