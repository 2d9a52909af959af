package testbed

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// list returns the manifest of entries.
func list(entries ...string) string {
	body := ""
	for _, e := range entries {
		body += e + "\n"
	}
	return body + fmt.Sprintf("sha256 %x entries %d\n", sha256.Sum256([]byte(body)), len(entries))
}

func TestSameTree(t *testing.T) {
	const dir, a, file = `dir 0755 0 0 1.0 "."`, `dir 0755 0 0 1.0 "a"`, `file 0644 0 0 1.0 10 no aa "f"`
	for name, tc := range map[string]struct {
		original, restored string
		want               string
	}{
		"equal":               {list(dir), list(dir), ""},
		"empty":               {list(), list(), ""},
		"zeros became a hole": {list(file), list(`file 0644 0 0 1.0 10 yes aa "f"`), ""},
		"a hole was filled":   {list(`file 0644 0 0 1.0 10 yes aa "f"`), list(file), "entries differ"},
		"other content":       {list(file), list(`file 0644 0 0 1.0 10 no ab "f"`), "entries differ"},
		"other mode":          {list(file), list(`file 0600 0 0 1.0 10 no aa "f"`), "entries differ"},
		"an entry is missing": {list(dir, a), list(dir), "has 1"},
		"an entry of another's name": {
			list(`file 0644 0 0 1.0 10 no aa "no yes"`), list(`file 0644 0 0 1.0 10 no aa "yes no"`), "entries differ",
		},
		"a list that was cut at a line": {
			list(dir, a), dir + "\n", "the list of the restored tree: it is not whole: after 0 lines",
		},
		"a list that was cut in a line": {
			strings.TrimSuffix(list(dir, a), "entries 2\n"), list(dir, a), "the list of the original: it is not whole",
		},
		"a list that lost its middle": {list(dir, a), strings.Replace(list(dir, a), a+"\n", "", 1), "it is not whole"},
		"nothing was read":            {list(), "", "it is not whole"},
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
