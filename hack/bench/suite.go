package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// suite is benchmarks of one package that run in one process.
type suite struct {
	pkg, bench, benchtime string
	// count is how often each benchmark runs; the fastest counts.
	count int
	// cpus is GOMAXPROCS.
	cpus int
	// rows of the table that are made of the results.
	rows []func(results) row
	// setup is a goal of make that brings what the benchmarks need beside Go, for example a cluster.
	setup string
	// big is how long it takes, and on what, where that is so much that it must be asked for with -only.
	big string
}

// name is what -only is matched with.
func (s suite) name() string { return s.bench + " in " + s.pkg }

// leftOut says whether it takes too long for a run in which nothing is asked for.
func (s suite) leftOut(only string) bool { return s.big != "" && only == "" }

// peers is the package that measures the mover.
const peers = "./hack/bench/peers"

// suites are all that is measured, in the order of the table.
func suites(cpus int) []suite {
	return slices.Concat(decisions(cpus), clusters(cpus))
}

// decisions measure code that needs no cluster.
func decisions(cpus int) []suite {
	return []suite{
		{
			pkg: "./internal/policy", bench: "^BenchmarkExpand(Selected)?$", benchtime: "1s", count: 3, cpus: 1,
			rows: expandRows(),
		},
		{
			pkg: "./internal/retention", bench: "^BenchmarkDecide$", benchtime: "1s", count: 3, cpus: 1,
			rows: retentionRows(),
		},
		{
			pkg: "./internal/gitstore", bench: "^BenchmarkCommit$", benchtime: "10x", count: 10, cpus: cpus,
			rows: ledgerRows("Commit", "commit"),
		},
		{
			pkg: "./internal/gitstore", bench: "^BenchmarkPush$", benchtime: "10x", count: 10, cpus: cpus,
			rows: ledgerRows("Push", "push"),
		},
		{
			pkg: "./internal/ledger", bench: "^Benchmark(BackupRecord|Pack)$", benchtime: "1s", count: 1, cpus: 1,
			rows: recordRows(),
		},
	}
}

// clusters measure what an API server, a backend or a cluster takes part in.
func clusters(cpus int) []suite {
	return []suite{
		{
			pkg: "./controllers/policysync", bench: "^BenchmarkSync1000$/^first$", benchtime: "1x", count: 1,
			cpus: cpus, rows: firstApplyRows(),
		},
		{
			pkg: "./controllers/policysync", bench: "^BenchmarkSync1000$/^nothing-new$", benchtime: "20x", count: 1,
			cpus: cpus, rows: noChangeRows(),
		},
		{
			pkg: "./controllers/policysync", bench: "^BenchmarkBatch1000$", benchtime: "1x", count: 1, cpus: cpus,
			rows: batchRows(),
		},
		{pkg: peers, bench: "^BenchmarkAttributes$", benchtime: "1x", count: 1, cpus: cpus, rows: attributeRows()},
		{pkg: peers, bench: "^BenchmarkPeers$/^disk$", benchtime: "1x", count: 1, cpus: cpus, rows: peerRows("disk")},
		{pkg: peers, bench: "^BenchmarkPeers$/^s3$", benchtime: "1x", count: 1, cpus: cpus, rows: peerRows("s3")},
		{pkg: peers, bench: "^BenchmarkStream$", benchtime: "1x", count: 1, cpus: cpus, rows: streamRows()},
		{
			pkg: peers, bench: "^BenchmarkMemory$/^tiny-100k$", benchtime: "1x", count: 1, cpus: cpus,
			rows: memoryRows("tiny-100k", "100,000 tiny files"),
		},
		{
			pkg: peers, bench: "^BenchmarkMemory$/^tiny-1M$", benchtime: "1x", count: 1, cpus: cpus,
			rows: memoryRows("tiny-1M", "1,000,000 tiny files"),
			big:  "5 minutes and 6 GB in TMPDIR",
		},
		{
			pkg: peers, bench: "^BenchmarkMemory$/^tiny-2M$", benchtime: "1x", count: 1, cpus: cpus,
			rows: memoryRows("tiny-2M", "2,000,000 tiny files"),
			big:  "10 minutes and 12 GB in TMPDIR",
		},
		{
			pkg: peers, bench: "^BenchmarkMemory$/^one-10GB$", benchtime: "1x", count: 1, cpus: cpus,
			rows: memoryRows("one-10GB", "one file of 10 GB"),
			big:  "5 minutes and 20 GB in TMPDIR",
		},
		{
			pkg: "./e2e/overhead", bench: "^BenchmarkSlotToSucceeded$", benchtime: "1x", count: 1, cpus: cpus,
			rows: overheadRows(), setup: "bench-cluster",
		},
		{
			pkg: "./e2e/overhead", bench: "^BenchmarkVolumeSnapshots20$", benchtime: "1x", count: 1, cpus: cpus,
			rows: snapshotRows(), setup: "bench-cluster",
		},
		{
			pkg: "./cmd/manager", bench: "^BenchmarkMemory1000$", benchtime: "1x", count: 1, cpus: cpus,
			rows: managerRows(),
		},
	}
}

// args of the go command.
func (s suite) args() []string {
	return []string{
		"test", "-v", "-run", "^$", "-bench", s.bench, "-benchmem", "-benchtime", s.benchtime, "-count",
		strconv.Itoa(s.count),
		"-cpu", strconv.Itoa(s.cpus), "-timeout", "30m", s.pkg,
	}
}

// run gives the output. Of a failed run the last lines are in the error.
func (s suite) run(ctx context.Context) (string, error) {
	if s.setup != "" {
		if out, err := exec.CommandContext(ctx, "make", s.setup).CombinedOutput(); err != nil {
			return "", fmt.Errorf("make %s: %w\n%s", s.setup, err, tail(string(out), 15))
		}
	}
	cmd := exec.CommandContext(ctx, "go", s.args()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // go test stops what it started
	cmd.WaitDelay = 30 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(s.args(), " "), err, tail(out.String(), 15))
	}
	return out.String(), nil
}

// tail is the last n lines.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
