package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// testOfPackage finds "`TestName` in `package`", with a subtest or without.
var testOfPackage = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)(?:/([^`]*))?` in `([a-z0-9/]+)`")

// TestTheSecurityPageNamesTestsThatExist keeps each line of the tables proven: a test that is renamed or removed must
// not leave a promise behind.
func TestTheSecurityPageNamesTestsThatExist(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("security.md")
	g.Expect(err).NotTo(HaveOccurred())
	attacks, rows := false, 0
	for _, line := range strings.Split(string(page), "\n") {
		switch {
		case strings.HasPrefix(line, "| Attack |"):
			attacks = true
		case !strings.HasPrefix(line, "| "):
			attacks = false
		case attacks && !strings.HasPrefix(line, "| ---"):
			cells := strings.Split(strings.Trim(line, "|"), " | ")
			g.Expect(cells).To(HaveLen(3), line)
			g.Expect(cells[2]).To(MatchRegexp(testOfPackage.String()), "each attack has its test: %s", line)
			rows++
		}
	}
	g.Expect(rows).To(BeNumerically(">", 40))
	found := testOfPackage.FindAllStringSubmatch(string(page), -1)
	g.Expect(found).NotTo(BeEmpty())
	for _, match := range found {
		g.Expect(hasTest(t, match[3], match[1], match[2])).To(BeTrue(), "%s has no %s", match[3], match[0])
	}
}

// hasTest reports whether a package has a test function, and a subtest if one is named.
func hasTest(t *testing.T, pkg, name, subtest string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pkg), "*_test.go"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	top, sub := false, subtest == ""
	for _, file := range files {
		text, err := os.ReadFile(file)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		top = top || strings.Contains(string(text), "\nfunc "+name+"(")
		sub = sub || strings.Contains(string(text), `"`+strings.ReplaceAll(subtest, "_", " ")+`"`)
	}
	return top && sub
}
