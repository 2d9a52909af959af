package command

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

func TestSizesOfStatusAreRead(t *testing.T) {
	g := NewWithT(t)
	for _, n := range []int64{0, 1023, 1024, 12_815_687, 3 << 30, 5 << 40} {
		got, ok := parseSize(task.FormatSize(n))
		g.Expect(ok).To(BeTrue(), task.FormatSize(n))
		g.Expect(got).To(BeNumerically("~", float64(n), float64(n)/1000), task.FormatSize(n))
	}
	for _, s := range []string{"", "12", "x MiB", "12 MB", "12 QiB"} {
		_, ok := parseSize(s)
		g.Expect(ok).To(BeFalse(), s)
	}
	g.Expect(SumSizes("12.100 MiB", "", "6.100 MiB")).To(Equal("18.2 MiB"))
	g.Expect(SumSizes("", "")).To(Equal("-"))
}

func TestShortForms(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ShortRevision("feature/a:b@sha1:4be2a1f0c3d4e5f6")).To(Equal("feature/a:b@sha1:4be2a1f"))
	g.Expect(ShortRevision("")).To(BeEmpty())
	g.Expect(
		ShortRecords([]v1alpha1.RecordStatus{
			{Commit: "9c1f0aa3d4"},
			{Ledger: "a/b"},
			{Commit: "9c1f0aa3d4"},
			{Commit: "1234567890"},
		})).
		To(Equal("9c1f0aa,1234567"))
}

func TestNotesAreWrappedNotCut(t *testing.T) {
	g := NewWithT(t)
	word := strings.Repeat("ü", 60)
	got := wrap("one two "+word+" three four five six seven eight nine ten", 50, "    ")
	g.Expect(got).To(Equal("    one two\n    " + word + "\n    three four five six seven eight nine ten\n"))
}

func TestTextsDoNotSteerTheTerminal(t *testing.T) {
	g := NewWithT(t)
	evil := "a\x1b[2Jb\r\n\u009bc"
	table := &Table{Header: []string{"NAME"}}
	table.Add(evil)
	table.Note(evil)
	var out strings.Builder
	g.Expect(table.Write(&out, 80)).To(Succeed())
	g.Expect(out.String()).To(Equal("NAME\na [2Jb   c\n    a [2Jb c\n"))
}
