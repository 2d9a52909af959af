package peers

import (
	"cmp"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// BenchmarkAttributes backs the same tree up with and without looking for attributes, by turns, and reports the
// medians.
func BenchmarkAttributes(b *testing.B) {
	tree := filepath.Join(b.TempDir(), "tree")
	tiny(b, tree, number("CAIRN_BENCH_FILES", 100_000))
	age(b)
	spent := map[string][]time.Duration{}
	for range b.N {
		for round := range number("CAIRN_BENCH_ROUNDS", 7) {
			for turn := range 2 {
				without := (round+turn)%2 == 0
				attributes(b, tree, without, spent)
			}
		}
	}
	for what, times := range spent {
		slices.SortFunc(times, cmp.Compare[time.Duration])
		b.ReportMetric(float64(times[len(times)/2]), what+"-ns")
	}
}

// attributes does one first backup into a new repository, and some without a change. Each is what a mover does: it
// opens the repository, backs up, and closes it.
func attributes(b *testing.B, tree string, without bool, spent map[string][]time.Duration) {
	which := map[bool]string{true: "without", false: "with"}[without]
	r := repository.Repository{
		Storage: repository.Storage{Local: &repository.Local{Path: b.TempDir()}}, Password: password,
		Owner: "cairn@bench", WorkDir: b.TempDir(),
	}
	must(b, kopia.Driver{}.Init(b.Context(), r))
	for _, step := range []string{"first", "unchanged", "unchanged", "unchanged", "unchanged", "unchanged"} {
		began, cpu := time.Now(), processor(b)
		e, err := kopia.Driver{}.Open(b.Context(), r)
		must(b, err)
		s, err := e.Backup(b.Context(), repository.Source{Name: "tree", Dir: tree},
			repository.BackupOptions{NoAttributes: without})
		must(b, err)
		must(b, e.Close(b.Context()))
		spent[step+"-"+which] = append(spent[step+"-"+which], time.Since(began))
		spent[step+"-"+which+"-cpu"] = append(spent[step+"-"+which+"-cpu"], processor(b)-cpu)
		if s.Attributes != 0 {
			b.Fatalf("%d entries have attributes: the tree is not as it should be", s.Attributes)
		}
	}
}

// processor is the time that this process has had so far. Other work on the machine is not in it.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
