package command_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/cli/command"
)

// The duration counts from the start of the work: what waited for minutes and then did not begin took no 0 seconds.
func TestWhatDidNotBeginHasNoDuration(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.Expect(command.Ending("Failed", "TargetNotFound", "0s", "m")).NotTo(ContainSubstring("in 0s"))
	g.Expect(command.Ending("Failed", "DumpFailed", "5s", "m")).To(HavePrefix(" in 5s"))
	g.Expect(command.Ending("Succeeded", "", "0s", "")).To(Equal(" in 0s"))
}
