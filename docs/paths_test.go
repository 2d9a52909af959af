package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// named finds what is set as code.
var named = regexp.MustCompile("`([^`\n]+)`")

// TestTheArchitectureNamesPathsThatExist keeps the page true when a file moves.
func TestTheArchitectureNamesPathsThatExist(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("architecture.md")
	g.Expect(err).NotTo(HaveOccurred())
	found := 0
	for _, match := range named.FindAllStringSubmatch(string(page), -1) {
		path := match[1]
		if !strings.Contains(path, "/") {
			continue
		}
		found++
		_, err := os.Stat(filepath.Join("..", path))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(found).To(BeNumerically(">", 30), "the page names the file to open at each step")
}
