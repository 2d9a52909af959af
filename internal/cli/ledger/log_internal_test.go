package ledger

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/cli/command"
)

func TestTheLogDoesNotSteerTheTerminal(t *testing.T) {
	g := NewWithT(t)
	evil := "a\x1b[2Jb\r\n\u009bc"
	var out strings.Builder
	f := ledgerLogFlags{output: command.OutputTable, verbose: true}
	o := command.Options{}
	o.Out = &out
	g.Expect(f.print(o, []entry{{Subject: evil, Objects: []string{evil}}})).To(Succeed())
	g.Expect(out.String()).To(Equal("0001-01-01T00:00:00Z    a [2Jb c\n    a [2Jb c\n"))
}
