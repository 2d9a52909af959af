package text

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestCut(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		limit int
		want  string
	}{
		"it fits":                      {"abc", 3, "abc"},
		"it is too long":               {"abcdef", 5, "ab…"},
		"a character is never split":   {"aäö", 4, "a…"},
		"a character that fits stays":  {"aäöü", 6, "aä…"},
		"only the sign has room":       {"abcd", 3, "…"},
		"not even the sign has room":   {"abcd", 2, ""},
		"no room":                      {"abcd", 0, ""},
		"nothing":                      {"", 0, ""},
		"what is no character":         {"a\xffb", 5, "a\uFFFDb"},
		"what is no character is long": {"a\xffb", 4, "a…"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(Cut(tt.text, tt.limit)).To(Equal(tt.want))
		})
	}
}

func TestJoin(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Join(nil)).To(BeEmpty())
	g.Expect(Join([]string{"one", "two"})).To(Equal("one; two"))
	long := Join([]string{"a", strings.Repeat("ä", 2000)})
	g.Expect(len(long)).To(BeNumerically("<=", MaxMessage))
	g.Expect(long).To(HaveSuffix("ä…"))
}

func TestQuantity(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Quantity(0, "file")).To(Equal("0 files"))
	g.Expect(Quantity(1, "entry")).To(Equal("1 entry"))
	g.Expect(Quantity(int64(2), "entry")).To(Equal("2 entries"))
	g.Expect(Quantity(3, "target")).To(Equal("3 targets"))
	g.Expect(Quantity(int32(4), "key")).To(Equal("4 keys"))
}

func TestFirstFew(t *testing.T) {
	g := NewWithT(t)
	g.Expect(FirstFew(nil)).To(BeEmpty())
	g.Expect(FirstFew([]string{"a", "b", "c", "d", "e"})).To(Equal("a, b, c, d, e"))
	g.Expect(FirstFew([]string{"a", "b", "c", "d", "e", "f", "g"})).To(Equal("a, b, c, d, e and 2 more"))
}
