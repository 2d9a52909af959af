package pairs

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// writer writes pairs until the returned function is called.
func writer(t *testing.T, dir string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Write(ctx, dir) }()
	stop = func() {
		cancel()
		NewWithT(t).Eventually(ended, time.Minute).Should(Receive(BeNil()))
	}
	NewWithT(t).Eventually(filepath.Join(dir, "a"), time.Minute).Should(BeADirectory())
	return stop
}

func TestPairsAreWholeAtAnyPointInTime(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	var last uint64
	for range 3 {
		stop := writer(t, dir)
		g.Eventually(func() uint64 {
			numbers, _ := read(filepath.Join(dir, "a")) // a number is half written for a moment
			return numbers[nameOf(Count-1)]
		}, time.Minute).Should(BeNumerically(">", last), "it goes on from where it was")
		stop()
		s, err := Check(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Pairs).To(Equal(Count))
		last = s.Oldest
	}
}

func TestACopyOfOneFileAfterTheOtherIsBroken(t *testing.T) {
	g := NewWithT(t)
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	stop := writer(t, dir)
	defer stop()
	g.Eventually(func() error {
		if err := os.RemoveAll(copied); err != nil {
			return err
		}
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			return err
		}
		_, err := Check(copied)
		return err
	}, time.Minute).Should(MatchError(ContainSubstring("are broken")))
}

func TestWhatIsNoPointInTime(t *testing.T) {
	whole := func(t *testing.T) string {
		dir := t.TempDir()
		if err := create(dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	set := func(half, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, half, "0007"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		change func(*testing.T, string)
		want   string // "" if it is one
	}{
		"all equal":       {func(*testing.T, string) {}, ""},
		"b one behind":    {set("a", "1\n"), ""},
		"b two behind":    {set("a", "2\n"), "1 of 300 are broken: 0007: a has 2, b has 0"},
		"b is newer":      {set("b", "1\n"), "1 of 300 are broken: 0007: a has 0, b has 1"},
		"an empty file":   {set("b", ""), "0007"},
		"a file is gone":  {func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "b", "0007")) }, "b has 299"},
		"nothing is left": {func(t *testing.T, dir string) { _ = os.RemoveAll(filepath.Join(dir, "a")) }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := whole(t)
			tc.change(t, dir)
			_, err := Check(dir)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}

func TestItDoesNotGoOnWithBrokenPairs(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(create(dir)).To(Succeed())
	g.Expect(put(filepath.Join(dir, "b", "0003"), os.O_WRONLY, 5)).To(Succeed())
	g.Expect(Write(t.Context(), dir)).To(MatchError(ContainSubstring("0003: a has 0, b has 5")))
}

func TestWhatACrashLeftOfTheFirstStartIsMadeAnew(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	for _, left := range []string{"b", ".a"} {
		g.Expect(os.MkdirAll(filepath.Join(dir, left), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, left, "0000"), []byte("7\n"), 0o644)).To(Succeed())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Expect(Write(ctx, dir)).To(Succeed())
	g.Expect(Check(dir)).To(Equal(Summary{Pairs: Count}))
	g.Expect(filepath.Join(dir, ".a")).NotTo(BeADirectory())
}
