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

func TestPairsAreOfOneTimeWheneverTheWriterEnds(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	last := 0
	for range 3 {
		stop := writer(t, dir)
		g.Eventually(func() int {
			numbers, err := read(filepath.Join(dir, "a"))
			if err != nil {
				return 0 // a number is half written for a moment
			}
			return numbers[Count-1]
		}, time.Minute).Should(BeNumerically(">", last/Count), "it goes on from where it was")
		stop()
		s, err := Check(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Written).To(BeNumerically(">", last))
		last = s.Written
	}
}

func TestItGoesOnWithTheHalfThatIsMissing(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(create(dir)).To(Succeed())
	g.Expect(writeHalf(dir, "a", 0)).To(Succeed())
	g.Expect(Check(dir)).To(Equal(Summary{Written: 1, Half: true}))
	g.Expect(resume(dir)).To(Equal(1))
	g.Expect(Check(dir)).To(Equal(Summary{Written: 1}))
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
	}, time.Minute).Should(MatchError(ContainSubstring("check the pairs")))
}

func TestWhatIsNoPointInTime(t *testing.T) {
	whole := func(t *testing.T) string {
		dir := t.TempDir()
		if err := create(dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	set := func(half, name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, half, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	both := func(first, second func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			first(t, dir)
			second(t, dir)
		}
	}
	for name, tc := range map[string]struct {
		change func(*testing.T, string)
		want   string // "" if it is one
	}{
		"the beginning": {func(*testing.T, string) {}, ""},
		"one write":     {set("a", "0000", "1\n"), ""},
		"one pair":      {both(set("a", "0000", "1\n"), set("b", "0000", "1\n")), ""},
		"b is newer":    {set("b", "0000", "1\n"), "a is as it was after 0 writes, b after 1"},
		"b is two behind": {
			both(set("a", "0000", "1\n"), set("a", nameOf(1), "1\n")), "a is as it was after 2 writes, b after 0",
		},
		"another's turn":       {set("a", nameOf(1), "1\n"), "a was never like that: 0000 has 0, not 1"},
		"one is rounds behind": {set("a", "0000", "2\n"), "a was never like that"},
		"an empty file":        {set("b", "0007", ""), "0007"},
		"a file is gone": {
			func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "b", "0007")) }, "b has 299 files",
		},
		"nothing is left": {
			func(t *testing.T, dir string) { _ = os.RemoveAll(filepath.Join(dir, "a")) }, "no such file",
		},
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
	g.Expect(Write(t.Context(), dir)).To(MatchError(ContainSubstring("b was never like that")))
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
	g.Expect(Check(dir)).To(Equal(Summary{}))
	g.Expect(filepath.Join(dir, ".a")).NotTo(BeADirectory())
}
