package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/internal/text"
)

// row of the table. A row without a bar cannot fail.
type row struct {
	what, measured, bar string
	met                 bool
	// missing says why there is no figure.
	missing string
}

// reader gets metrics and remembers the first that is missing.
type reader struct {
	results results
	err     error
}

func (r *reader) get(name, unit string) float64 {
	v, err := r.results.get(name, unit)
	if err != nil && r.err == nil {
		r.err = err
	}
	return v
}

// rowOf fills what from the results; the row says so when a metric is missing.
func rowOf(what, bar string, fill func(*reader) (measured string, met bool)) func(results) row {
	return func(all results) row {
		r := &reader{results: all}
		measured, met := fill(r)
		if r.err != nil {
			return row{what: what, bar: bar, missing: r.err.Error()}
		}
		return row{what: what, measured: measured, bar: bar, met: met}
	}
}

// minExpansion is targets a second on one core.
const minExpansion = 10_000

func expandRows() []func(results) row {
	return []func(results) row{
		rowOf("expansion of a BackupBatch on one core", "≥10,000 targets/s", func(r *reader) (string, bool) {
			rate := r.get("BenchmarkExpand", "targets/s")
			return fmt.Sprintf("%s targets/s", thousands(rate)), rate >= minExpansion
		}),
		rowOf("expansion of 1,000 targets that a selector finds", "≥10,000 targets/s", func(r *reader) (string, bool) {
			rate := r.get("BenchmarkExpandSelected", "targets/s")
			return fmt.Sprintf("%s targets/s", thousands(rate)), rate >= minExpansion
		}),
	}
}

func retentionRows() []func(results) row {
	return []func(results) row{
		rowOf("retention decided for 10,000 Snapshots, six rules", "", func(r *reader) (string, bool) {
			return duration(r.get("BenchmarkDecide", "ns/op")), true
		}),
	}
}

// The two histories that are compared, and how much more the long one may cost.
const (
	few, many = 1_000, 100_000
	maxRatio  = 1.5
)

// notes are printed below the table.
const notes = `A push includes the work of the Git server, whose repository is packed as a forge's is. Its
connectivity check (rev-list) reads every tree of the parent commit and notes every file in them, 14 times the work at
100 times the records; neither packing, bitmaps nor what is sent changes that. Allocations and object reads are ours
alone.
Of 100 records, three folders get all in the short history and a hundred folders one each in the long one: their ratio
is of the folders, so it has no bar.
A first apply is from Git to applied, with the status written; both ways take turns, each with the concurrency that it
has by default (ours 8 requests, kustomize-controller 4), and the fastest counts. Most of the time is the API
server's, for a dry run and a write of each object. Neither can be left out: only when all are accepted is the first
written, so that nothing of a refused revision is applied.
Mover, kopia v0.21.1 and restic v0.18.1 take turns on one tree, each in processes of its own, in another order each
round; the medians of the rounds are shown. kopia compresses as the mover does. A fresh pod is a machine without cache
and settings: kopia has to connect first. Files are written to TMPDIR: what else the machine's disk does is in the
times.
VolumeSnapshots are made by the snapshot controller and its sidecar at the rate that they have by default, 5 requests
a second: most of the time is theirs, in both ways alike. What a session adds is in seconds.
`

// included is what else is in a time.
var included = map[string]string{"push": ", with the server's"}

// ledgerRows compare an operation on a short and on a long history.
func ledgerRows(benchmark, verb string) []func(results) row {
	name := func(present, records int) string {
		return fmt.Sprintf("Benchmark%s/present=%d/records=%d", benchmark, present, records)
	}
	var out []func(results) row
	for _, records := range []int{1, 100} {
		work := fmt.Sprintf("%s of %s", verb, text.Quantity(records, "record"))
		for _, present := range []int{few, many} {
			what := fmt.Sprintf("%s, %s present", work, thousands(float64(present)))
			out = append(out,
				rowOf(what, "", func(r *reader) (string, bool) { return cost(r, name(present, records)), true }))
		}
		bar := ""
		if records == 1 {
			bar = "≤1.5×"
		}
		out = append(out,
			rowOf(fmt.Sprintf("%s, ratio of the times%s", work, included[verb]), bar,
				func(r *reader) (string, bool) {
					x := r.get(name(many, records), "ns/op") / r.get(name(few, records), "ns/op")
					return fmt.Sprintf("%.2f×", x), x <= maxRatio
				}),
			rowOf(work+", ratio of allocations and object reads", bar,
				func(r *reader) (string, bool) {
					allocations := r.get(name(many, records), "allocs/op") / r.get(name(few, records), "allocs/op")
					reads := r.get(name(many, records), "reads/op") / max(r.get(name(few, records), "reads/op"), 1)
					return fmt.Sprintf("%.2f×, %.2f×", allocations, reads), allocations <= maxRatio && reads <= maxRatio
				}))
	}
	return out
}

// cost is time, allocations and object reads.
func cost(r *reader, name string) string {
	return fmt.Sprintf("%s, %s allocations (%s), %s object reads", duration(r.get(name, "ns/op")),
		thousands(r.get(name, "allocs/op")),
		size(r.get(name, "B/op")), thousands(r.get(name, "reads/op")))
}

func recordRows() []func(results) row {
	return []func(results) row{
		rowOf("one record written", "", func(r *reader) (string, bool) {
			return duration(r.get("BenchmarkBackupRecord", "ns/op")), true
		}),
		rowOf("200 records packed for the outbox", "", func(r *reader) (string, bool) {
			return duration(r.get("BenchmarkPack", "ns/op")), true
		}),
	}
}

// The bars of a first apply beside what kustomize-controller's libraries need for it.
const (
	minSpeedup = 2
	maxMemory  = 0.5
)

func firstApplyRows() []func(results) row {
	const name, what = "BenchmarkSync1000/first", "PolicySync of 1,000 objects, first apply"
	way := func(r *reader, who string) string {
		return fmt.Sprintf("%s, %s allocated, heap up to %s", duration(r.get(name, who+"-ns")),
			size(r.get(name, who+"-alloc-B")), size(r.get(name, who+"-peak-B")))
	}
	return []func(results) row{
		rowOf(what, "", func(r *reader) (string, bool) {
			return fmt.Sprintf("%s, %s objects/s", way(r, "ours"), thousands(r.get(name, "objects/s"))), true
		}),
		rowOf(what+", by kustomize-controller's libraries", "",
			func(r *reader) (string, bool) { return way(r, "theirs"), true }),
		rowOf(what+", times faster than these", "≥2×", func(r *reader) (string, bool) {
			x := r.get(name, "theirs-ns") / r.get(name, "ours-ns")
			return fmt.Sprintf("%.2f×", x), x >= minSpeedup
		}),
		rowOf(what+", share of their heap", "≤0.5×", func(r *reader) (string, bool) {
			x := r.get(name, "ours-peak-B") / r.get(name, "theirs-peak-B")
			return fmt.Sprintf("%.2f×", x), x <= maxMemory
		}),
		rowOf(what+", requests", "", func(r *reader) (string, bool) { return requests(r, name), true }),
	}
}

// maxBatch is how much longer a batch may take than a plain apply of its children.
const maxBatch = 2

func batchRows() []func(results) row {
	const name, what = "BenchmarkBatch1000", "BackupBatch of 1,000 targets, from Git to all children applied"
	return []func(results) row{
		rowOf(what, "", func(r *reader) (string, bool) { return duration(r.get(name, "ours-ns")), true }),
		rowOf("the same children, one plain apply with fluxcd/pkg/ssa", "",
			func(r *reader) (string, bool) { return duration(r.get(name, "theirs-ns")), true }),
		rowOf(what+", ratio", "≤2×", func(r *reader) (string, bool) {
			x := r.get(name, "ours-ns") / r.get(name, "theirs-ns")
			return fmt.Sprintf("%.2f×", x), x <= maxBatch
		}),
	}
}

func noChangeRows() []func(results) row {
	const name = "BenchmarkSync1000/nothing-new"
	return []func(results) row{
		rowOf("PolicySync of 1,000 objects, nothing new", "", func(r *reader) (string, bool) {
			return fmt.Sprintf("%s, %s allocated", duration(r.get(name, "ns/op")), size(r.get(name, "B/op"))), true
		}),
		rowOf("PolicySync of 1,000 objects, nothing new, requests", "1 Git (ls-remote), 0 API writes",
			func(r *reader) (string, bool) {
				text := requests(r, name)
				return text, r.get(name, "git-requests/op") <= 1 && r.get(name, "writes/op") == 0
			}),
	}
}

// requests to the Git server and to the API server. A dry run writes nothing.
func requests(r *reader, name string) string {
	return fmt.Sprintf("%s Git, %s API reads, %s API dry runs, %s API writes",
		thousands(r.get(name, "git-requests/op")),
		thousands(r.get(name, "reads/op")), thousands(r.get(name, "dry-runs/op")), thousands(r.get(name, "writes/op")))
}

// duration of nanoseconds in three digits.
func duration(ns float64) string {
	d := time.Duration(ns)
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", ns/1e6)
	default:
		return fmt.Sprintf("%.3g s", ns/1e9)
	}
}

// size of bytes.
func size(n float64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.0f KiB", n/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", n/(1<<20))
}

// thousands writes 12345.6 as 12,346, and what is below ten with its first decimal when it has one.
func thousands(v float64) string {
	if v < 10 && v != float64(int(v)) {
		return fmt.Sprintf("%.1f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	var out strings.Builder
	for i, digit := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(digit)
	}
	return out.String()
}
