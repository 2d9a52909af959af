package main

import (
	"fmt"
	"strings"
)

// bar of a ratio or a size.
type bar struct {
	against string // whose time it is a multiple of
	step    string // of BenchmarkPeers
	what    string
	least   float64
}

// The bars of DESIGN section 8, by where the repository lies.
var peerBars = map[string][]bar{
	"disk": {
		{"restic", "first", "first backup", 2},
		{"restic", "unchanged", "backup, nothing changed", 3},
		{"restic", "1%", "backup, 1 % changed", 3},
		{"kopia", "first", "first backup", 1.4},
		{"kopia", "unchanged", "backup, nothing changed", 1.15},
		{"kopia", "1%", "backup, 1 % changed", 1.15},
		{"kopia", "cold", "backup, nothing changed, fresh pod", 1.15},
		{"kopia", "restore", "restore", 1.8},
	},
	"s3": {
		{"restic", "first", "first backup", 1.2},
		{"restic", "unchanged", "backup, nothing changed", 1.2},
		{"restic", "1%", "backup, 1 % changed", 1.2},
		{"kopia", "first", "first backup", 1.2},
		{"kopia", "cold", "backup, nothing changed, fresh pod", 1.4},
		{"kopia", "restore", "restore", 3},
	},
}

// peerSteps are what BenchmarkPeers does, in order.
var peerSteps = []struct{ name, what string }{
	{"first", "first backup"},
	{"unchanged", "backup, nothing changed"},
	{"1%", "backup, 1 % changed"},
	{"cold", "backup, nothing changed, fresh pod"},
	{"restore", "restore"},
}

var places = map[string]string{"disk": "a directory", "s3": "S3"}

// peerRows are what each program needs, and the ratios beside their bars.
func peerRows(place string) []func(results) row {
	name := "BenchmarkPeers/" + place
	var out []func(results) row
	for _, step := range peerSteps {
		out = append(out, rowOf(fmt.Sprintf("%s, %s: mover; kopia; restic", places[place], step.what), "",
			func(r *reader) (string, bool) {
				var each []string
				for _, who := range []string{"mover", "kopia", "restic"} {
					metric := step.name + "-" + who
					each = append(each, fmt.Sprintf("%s (processor %s, peak %s)", duration(r.get(name, metric+"-ns")),
						duration(r.get(name, metric+"-cpu-ns")),
						size(r.get(name, metric+"-peak-B"))))
				}
				return fmt.Sprintf("%s; %s files", strings.Join(each, "; "), thousands(r.get(name, "files"))), true
			}))
	}
	for _, b := range peerBars[place] {
		out = append(out, rowOf(fmt.Sprintf("%s, %s: times faster than %s", places[place], b.what, b.against),
			fmt.Sprintf("≥%g×", b.least),
			func(r *reader) (string, bool) {
				x := r.get(name, b.step+"-"+b.against+"-ns") / r.get(name, b.step+"-mover-ns")
				return fmt.Sprintf("%.2f×", x), x >= b.least
			}))
	}
	return out
}

// The bars of the mover's memory with two million files.
const (
	maxBackupMiB, maxRestoreMiB = 450, 600
)

// memoryRows are the mover's peaks. The bars are those of two million files; fewer may take no more.
func memoryRows(benchmark, what string) []func(results) row {
	name := "BenchmarkMemory/" + benchmark
	var out []func(results) row
	for _, step := range []struct {
		name, what string
		most       float64
	}{{"first", "first backup", maxBackupMiB}, {"unchanged", "backup, nothing changed", maxBackupMiB}, {
		"restore", "restore", maxRestoreMiB,
	}} {
		out = append(out, rowOf(fmt.Sprintf("mover memory, %s, %s", what, step.what), fmt.Sprintf("≤%g MiB", step.most),
			func(r *reader) (string, bool) {
				peak := r.get(name, step.name+"-peak-B")
				return fmt.Sprintf("%s in %s", size(peak), duration(r.get(name, step.name+"-ns"))),
					peak <= step.most*(1<<20)
			}))
	}
	return out
}

// maxAttributes is what it may cost to look for attributes where there are none.
const maxAttributes = 1.05

func attributeRows() []func(results) row {
	const name = "BenchmarkAttributes"
	var out []func(results) row
	for _, step := range []struct{ name, what string }{
		{"first", "first backup"}, {"unchanged", "backup, nothing changed"},
	} {
		out = append(out, rowOf(fmt.Sprintf("cost of keeping attributes, 100,000 files without any, %s", step.what),
			"≤5 %", func(r *reader) (string, bool) {
				with, without := r.get(name, step.name+"-with-ns"), r.get(name, step.name+"-without-ns")
				cpu := r.get(name, step.name+"-with-cpu-ns") / r.get(name, step.name+"-without-cpu-ns")
				return fmt.Sprintf("%+.1f %%, %s instead of %s, processor %+.1f %%", (with/without-1)*100,
						duration(with), duration(without), (cpu-1)*100),
					with/without <= maxAttributes
			}))
	}
	return out
}

// The bars of a dump that is streamed.
const (
	maxStreamMiB = 350
	leastStream  = 0.9
)

// streamRows are a dump's way through the mover, and through a pipe to kopia's program.
func streamRows() []func(results) row {
	const name = "BenchmarkStream"
	peak := func(step, what string) func(results) row {
		return rowOf("mover memory, "+what, fmt.Sprintf("≤%d MiB", maxStreamMiB), func(r *reader) (string, bool) {
			p := r.get(name, step+"-peak-B")
			return fmt.Sprintf("%s in %s; %s", size(p), duration(r.get(name, step+"-ns")), size(r.get(name, "bytes"))),
				p <= maxStreamMiB*(1<<20)
		})
	}
	return []func(results) row{
		peak("mover", "dump, streamed"),
		peak("load-mover", "dump, restored"),
		rowOf("dump, streamed: times the speed of a pipe to kopia", fmt.Sprintf("≥%g×", leastStream),
			func(r *reader) (string, bool) {
				mover, kopia := r.get(name, "mover-ns"), r.get(name, "kopia-ns")
				return fmt.Sprintf("%.2f×, %s instead of %s (peak %s)", kopia/mover, duration(mover), duration(kopia),
						size(r.get(name, "kopia-peak-B"))),
					kopia/mover >= leastStream
			}),
	}
}
