package build

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/config"
)

// Each sentence explains a pattern of a CRD, so that none becomes stale when a pattern changes.
func TestSentencesAreOfPatternsThatAreThere(t *testing.T) {
	g := NewWithT(t)
	files, err := fs.Glob(config.CRDs, "crd/bases/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var all strings.Builder
	for _, file := range files {
		data, err := fs.ReadFile(config.CRDs, file)
		g.Expect(err).NotTo(HaveOccurred())
		all.Write(data)
	}
	there := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ *pattern: (.*)$`).FindAllStringSubmatch(all.String(), -1) {
		there[strings.Trim(m[1], `'"`)] = true
	}
	for pattern := range patterns {
		g.Expect(there).To(HaveKey(pattern))
	}
	g.Expect(explainSchemaError("should match '^other$'")).To(Equal("should match '^other$'"))
	g.Expect(explainSchemaError("should be at least 1 chars long")).To(Equal("is empty"))
	g.Expect(explainSchemaError("should be at least 3 chars long")).
		To(Equal("is too short: write at least 3 characters"))
}
