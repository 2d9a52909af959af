package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// TestLinesOfTheLogAreWritten looks for each message that the page of the log names in the code that logs.
func TestLinesOfTheLogAreWritten(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("reference/log.md")
	g.Expect(err).NotTo(HaveOccurred())
	var code strings.Builder
	for _, room := range []string{"cmd/manager", "controllers", "internal/kube"} {
		err := filepath.WalkDir(filepath.Join("..", room), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			code.Write(content)
			return err
		})
		g.Expect(err).NotTo(HaveOccurred())
	}
	messages := 0
	for row := range strings.Lines(string(page)) {
		first, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
			message, _, open := strings.Cut(quoted[1], "…")
			if want := `"` + message; !open {
				g.Expect(code.String()).To(ContainSubstring(want+`"`), "a line of the log")
			} else {
				g.Expect(code.String()).To(ContainSubstring(want), "a line of the log")
			}
			messages++
		}
	}
	g.Expect(messages).To(BeNumerically(">", 20))
}
