package task

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	. "github.com/onsi/gomega"
)

var (
	exitCodeRow = regexp.MustCompile(`(?m)^\| ([0-8]) \| [^|]+ \| ([^|]+) \|$`)
	quoted      = regexp.MustCompile("`([A-Za-z]+)`")
)

// The reference lists each reason in the row of its exit code.
func TestTheReferenceListsTheReasonsOfEachExitCode(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("../../docs/reference/movers.md")
	g.Expect(err).NotTo(HaveOccurred())
	listed := map[string]int{}
	for _, row := range exitCodeRow.FindAllStringSubmatch(string(page), -1) {
		code, err := strconv.Atoi(row[1])
		g.Expect(err).NotTo(HaveOccurred())
		for _, reason := range quoted.FindAllStringSubmatch(row[2], -1) {
			listed[reason[1]] = code
		}
	}
	for reason, code := range exitCodes {
		g.Expect(listed).To(HaveKeyWithValue(reason, code))
	}
	for reason, code := range listed {
		g.Expect(ExitCode(reason)).To(Equal(code), reason)
	}
}
