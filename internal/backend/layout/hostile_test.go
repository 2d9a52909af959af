package layout_test

import (
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend/layout"
)

// grows returns how many bytes f allocates. Nothing else may run meanwhile.
func grows(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// bomb is a small document that repeats a large text many times.
func bomb(kind string) []byte {
	return []byte("apiVersion: storage.cairn.dev/v1\nkind: " + kind + "\nformatVersion: 1\nx: &x " +
		strings.Repeat("x", 30<<10) + "\ny: [" + strings.Repeat("*x,", 10_000) + "]\n")
}

// Whoever can write to the backend can write a file of a few kilobytes that becomes gigabytes in a keeper.
func TestFilesOfTheBucketDoNotGrowInTheKeeper(t *testing.T) {
	g := NewWithT(t)
	for kind, parse := range map[string]func([]byte) error{
		"StorageMetadata":    func(b []byte) error { _, err := layout.ParseStorageMetadata(b); return err },
		"RepositoryMetadata": func(b []byte) error { _, err := layout.ParseRepositoryMetadata(b); return err },
		"ComponentResult":    func(b []byte) error { _, err := layout.ParseComponentResult(b); return err },
		"Removal":            func(b []byte) error { _, err := layout.ParseRemoval(b); return err },
		"KeeperLease":        func(b []byte) error { _, err := layout.ParseKeeperLease(b); return err },
	} {
		file := bomb(kind)
		g.Expect(grows(func() {
			g.Expect(parse(file)).To(MatchError(ContainSubstring("an anchor or an alias")))
		})).To(BeNumerically("<", 32<<20), kind)
		g.Expect(parse([]byte(strings.Repeat("- x\n", 200_000)))).To(MatchError(ContainSubstring("the limit is")))
	}
	g.Expect(grows(func() {
		g.Expect(layout.IsOthers(bomb("Chart"))).To(BeTrue(), "Cairn never wrote it")
	})).To(BeNumerically("<", 32<<20))
	g.Expect(layout.IsOthers([]byte(strings.Repeat("- x\n", 200_000)))).To(BeFalse(), "nobody looked")
	_, err := layout.ParseComponentResult([]byte(strings.Repeat("#", 65<<10)))
	g.Expect(err).To(MatchError(ContainSubstring("the limit is 65536")), "a scan reads very many")
}
