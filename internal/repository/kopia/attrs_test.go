package kopia_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// FuzzNames checks that every name of a directory survives as a name that kopia can store.
func FuzzNames(f *testing.F) {
	for _, s := range []string{
		"plain", "mit Leerzeichen ü", "\xff\xfe", ".cairn~a", ".cairn~nx", "%41", "caf\xe9 100%",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if raw == "" || raw == "." || raw == ".." || strings.ContainsAny(raw, "/\x00") {
			return
		}
		g := NewWithT(t)
		name := kopia.EncodeName(raw)
		g.Expect(utf8.ValidString(name)).To(BeTrue())
		g.Expect(name).NotTo(Equal(kopia.AttrName))
		g.Expect(kopia.DecodeName(name)).To(Equal(raw))
	})
}

func TestNamesFromASnapshotAreConfined(t *testing.T) {
	for _, name := range []string{
		"", ".", "..", "a/b", "a\x00b", ".cairn~n", ".cairn~n%2e%2e", ".cairn~na%2fb", ".cairn~n%2", ".cairn~n%zz",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := kopia.DecodeName(name)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
}

// FuzzAttributes checks that no content of an attribute file does harm: it comes from the repository.
func FuzzAttributes(f *testing.F) {
	f.Add([]byte("cairn-attributes 1\n"))
	f.Add([]byte("cairn-attributes 1\n\x01a\x02\x01\x04user\x01v"))
	f.Add([]byte("cairn-attributes 1\n\x01a\x02\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Add([]byte("cairn-attributes 2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := kopia.ReencodeAttrs(b)
		if err != nil {
			NewWithT(t).Expect(err).To(MatchError(kopia.ErrAttrs))
			return
		}
		NewWithT(t).Expect(kopia.ReencodeAttrs(again)).To(Equal(again), "the encoding is stable")
	})
}
