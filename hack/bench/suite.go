package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
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
}

// suites are all that is measured, in the order of the table.
func suites(cpus int) []suite {
	return []suite{
		{pkg: "./internal/policy", bench: "^BenchmarkExpand$", benchtime: "1s", count: 3, cpus: 1, rows: expandRows()},
		{pkg: "./internal/gitstore", bench: "^BenchmarkCommit$", benchtime: "10x", count: 10, cpus: cpus, rows: ledgerRows("Commit", "commit")},
		{pkg: "./internal/gitstore", bench: "^BenchmarkPush$", benchtime: "10x", count: 10, cpus: cpus, rows: ledgerRows("Push", "push")},
		{pkg: "./internal/ledger", bench: "^Benchmark(BackupRecord|Pack)$", benchtime: "1s", count: 1, cpus: 1, rows: recordRows()},
		{pkg: "./controllers/policysync", bench: "^BenchmarkSync1000$/^first$", benchtime: "1x", count: 1, cpus: cpus, rows: firstApplyRows()},
		{pkg: "./controllers/policysync", bench: "^BenchmarkSync1000$/^nothing-new$", benchtime: "20x", count: 1, cpus: cpus, rows: noChangeRows()},
	}
}

// args of the go command.
func (s suite) args() []string {
	return []string{
		"test", "-v", "-run", "^$", "-bench", s.bench, "-benchmem", "-benchtime", s.benchtime, "-count", strconv.Itoa(s.count),
		"-cpu", strconv.Itoa(s.cpus), "-timeout", "20m", s.pkg,
	}
}

// run gives the output. Of a failed run the last lines are in the error.
func (s suite) run(ctx context.Context) (string, error) {
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
