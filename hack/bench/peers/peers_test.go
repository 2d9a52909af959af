package peers

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// The size of a comparison; the environment makes it smaller for a try.
var (
	files  = number("CAIRN_BENCH_FILES", 46_000)
	rounds = number("CAIRN_BENCH_ROUNDS", 5)
)

func number(env string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(env))
	if err != nil {
		return otherwise
	}
	return n
}

// steps in their order, each with what it does.
var steps = []struct {
	name string
	do   func(ctx context.Context, t tool, tree, target string) (cost, error)
}{
	{"first", func(ctx context.Context, t tool, tree, _ string) (cost, error) { return t.backup(ctx, tree) }},
	{"unchanged", func(ctx context.Context, t tool, tree, _ string) (cost, error) { return t.backup(ctx, tree) }},
	{"1%", func(ctx context.Context, t tool, tree, _ string) (cost, error) { return t.backup(ctx, tree) }},
	{"cold", func(ctx context.Context, t tool, tree, _ string) (cost, error) { return t.cold(ctx, tree) }},
	{"restore", func(ctx context.Context, t tool, _, target string) (cost, error) { return t.restore(ctx, target) }},
}

// BenchmarkPeers lets mover, kopia and restic take turns, in another order each round, and reports the medians.
func BenchmarkPeers(b *testing.B) {
	bins := map[string]string{"kopia": build(b, "kopia"), "restic": build(b, "restic")}
	tree := filepath.Join(b.TempDir(), "tree")
	mixed(b, tree, files)
	age(b)
	for _, place := range []string{"disk", "s3"} {
		b.Run(place, func(b *testing.B) {
			for range b.N {
				compare(b, bins, tree, place)
			}
		})
	}
}

// age lets the files of a tree become as old as nearly all files are that a backup meets: the mover reads one again
// that changed within the minute before its backup.
func age(b *testing.B) {
	b.Helper()
	select {
	case <-time.After(61 * time.Second):
	case <-b.Context().Done():
	}
}

func compare(b *testing.B, bins map[string]string, tree, place string) {
	spent := map[string][]cost{}
	order := []string{"mover", "kopia", "restic"}
	for round := range rounds {
		dir := filepath.Join(b.TempDir(), fmt.Sprint("round", round))
		tools, stop := newTools(b, dir, bins, place)
		for _, step := range steps {
			if step.name == "1%" {
				change(b, tree, files, round)
			}
			for _, name := range order {
				target := filepath.Join(dir, "target-"+name)
				c, err := step.do(b.Context(), tools[name], tree, target)
				if err != nil {
					b.Fatalf("%s, %s: %v", name, step.name, err)
				}
				must(b, os.RemoveAll(target))
				spent[step.name+"-"+name] = append(spent[step.name+"-"+name], c)
			}
		}
		stop()
		must(b, os.RemoveAll(dir))
		order = append(order[1:], order[0])
	}
	for what, costs := range spent {
		b.ReportMetric(median(costs, func(c cost) float64 { return float64(c.wall) }), what+"-ns")
		b.ReportMetric(median(costs, func(c cost) float64 { return float64(c.cpu) }), what+"-cpu-ns")
		b.ReportMetric(median(costs, func(c cost) float64 { return float64(c.peak) }), what+"-peak-B")
	}
	b.ReportMetric(float64(files), "files")
}

// newTools are all of them with new repositories in dir, until stop is called.
func newTools(b *testing.B, dir string, bins map[string]string, place string) (_ map[string]tool, stop func()) {
	var s3 *s3Server
	stop = func() {}
	if place == "s3" {
		s3, stop = startS3(b, filepath.Join(dir, "s3"))
	}
	tools := map[string]tool{
		"mover":  newContainer(b, filepath.Join(dir, "mover"), s3),
		"kopia":  &kopiaTool{bin: bins["kopia"], dir: filepath.Join(dir, "kopia"), s3: s3},
		"restic": &resticTool{bin: bins["restic"], dir: filepath.Join(dir, "restic"), s3: s3},
	}
	for name, t := range tools {
		if err := t.init(b.Context()); err != nil {
			b.Fatalf("%s, init: %v", name, err)
		}
	}
	return tools, stop
}

func median(costs []cost, of func(cost) float64) float64 {
	values := make([]float64, len(costs))
	for i, c := range costs {
		values[i] = of(c)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	return values[len(values)/2]
}

// BenchmarkMemory is the peak of the resident set, of one backup and one restore.
func BenchmarkMemory(b *testing.B) {
	for _, bench := range []struct {
		name string
		make func(b testing.TB, dir string)
	}{
		{"tiny-100k", func(b testing.TB, dir string) { tiny(b, dir, 100_000) }},
		{"tiny-1M", func(b testing.TB, dir string) { tiny(b, dir, 1_000_000) }},
		{"tiny-2M", func(b testing.TB, dir string) { tiny(b, dir, 2_000_000) }},
		{"one-10GB", func(b testing.TB, dir string) {
			big(b, dir, int64(number("CAIRN_BENCH_BYTES", 10_000_000_000)))
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				dir := b.TempDir()
				tree, target := filepath.Join(dir, "tree"), filepath.Join(dir, "target")
				bench.make(b, tree)
				age(b)
				c := newContainer(b, filepath.Join(dir, "mover"), nil)
				must(b, c.init(b.Context()))
				b.StartTimer()
				for _, step := range []struct {
					name string
					do   func() (cost, error)
				}{
					{"first", func() (cost, error) { return c.backup(b.Context(), tree) }},
					{"unchanged", func() (cost, error) { return c.backup(b.Context(), tree) }},
					{"restore", func() (cost, error) {
						must(b, os.RemoveAll(tree)) // both would take much of a disk
						return c.restore(b.Context(), target)
					}},
				} {
					spent, err := step.do()
					if err != nil {
						b.Fatalf("%s: %v", step.name, err)
					}
					b.ReportMetric(float64(spent.wall), step.name+"-ns")
					b.ReportMetric(float64(spent.peak), step.name+"-peak-B")
				}
				b.StopTimer()
			}
		})
	}
}
