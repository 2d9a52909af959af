package main

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestACopyKeepsTheStateOfItsSource(t *testing.T) {
	g := NewWithT(t)
	s := newStore(filepath.Join(t.TempDir(), "volumes"))
	g.Expect(s.init()).To(Succeed())
	a, b := idFor("vol", "a"), idFor("vol", "b")
	g.Expect(s.create(meta{ID: a, Name: "a"}, "")).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(s.data(a), "file"), []byte("before"), 0o640)).To(Succeed())
	g.Expect(s.create(meta{ID: b, Name: "b", Source: a}, s.data(a))).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(s.data(a), "file"), []byte("after"), 0o640)).To(Succeed())
	g.Expect(os.ReadFile(filepath.Join(s.data(b), "file"))).To(BeEquivalentTo("before"))
	g.Expect(s.list()).To(HaveLen(2))

	g.Expect(s.delete(a)).To(Succeed())
	g.Expect(s.delete(a)).To(Succeed(), "again")
	g.Expect(s.list()).To(HaveLen(1))
}

func TestWhatACrashLeftIsDeleted(t *testing.T) {
	g := NewWithT(t)
	s := newStore(t.TempDir())
	g.Expect(os.MkdirAll(filepath.Join(s.dir, tmpPrefix+"1", "data"), 0o755)).To(Succeed())
	g.Expect(s.init()).To(Succeed())
	g.Expect(os.ReadDir(s.dir)).To(BeEmpty())
}

func TestIDsFromOutsideCannotLeaveTheStore(t *testing.T) {
	for name, id := range map[string]string{"empty": "", "upwards": "..", "nested": "a/b", "hidden": ".tmp-x", "a zero byte": "a\x00"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newStore(t.TempDir())
			_, err := s.get(id)
			g.Expect(err).To(MatchError(os.ErrNotExist))
			g.Expect(s.delete(id)).To(Succeed())
			g.Expect(s.dir).To(BeADirectory())
		})
	}
}
