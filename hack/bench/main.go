// Command bench measures what DESIGN's table of numbers asks of this part of the system and prints each figure beside
// its bar. It runs the benchmarks of the packages as "go test -bench" does, one package at a time, so that nothing but
// the benchmark itself is on the processor. Times that are compared are the fastest of many short runs: what else the
// machine does makes a run slower, never faster.
//
// A missed bar is shown and is no error; a figure that could not be had is one, and makes the exit code 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
)

func main() {
	only := flag.String("only", "",
		"regular expression of the benchmarks to measure, as \"BenchmarkMemory in ./hack/bench/peers\"; the default "+
			"is all but those that take very long")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := measure(ctx, *only, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

// measure prints the table. It is false when a figure is missing.
func measure(ctx context.Context, only string, out, progress io.Writer) (bool, error) {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return false, fmt.Errorf("read -only: %w", err)
	}
	figures, complete, busy := results{}, true, load()
	var rows []row
	for _, s := range suites(runtime.NumCPU()) {
		if !chosen.MatchString(s.name()) {
			continue
		}
		if s.leftOut(only) {
			fmt.Fprintf(progress, "==> %s: left out, it takes %s: -only Memory\n", s.name(), s.big)
			continue
		}
		fmt.Fprintf(progress, "==> %s\n", s.name())
		text, err := s.run(ctx)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err == nil {
			err = figures.read(text, s.cpus)
		}
		if err != nil {
			complete = false
			fmt.Fprintf(progress, "==> %s: FAILED: %v\n", s.name(), err)
		}
		for _, r := range s.rows {
			shown := r(figures)
			complete = complete && shown.missing == ""
			rows = append(rows, shown)
		}
	}
	if len(rows) == 0 {
		return false, fmt.Errorf("no benchmark has a name that -only %s matches: leave it out to see the names", only)
	}
	fmt.Fprintf(out, "%s/%s, %s, %d cores, %s%s\n\n", runtime.GOOS, runtime.GOARCH, figures.processor(),
		runtime.NumCPU(), runtime.Version(), busy)
	if err := writeTable(out, rows); err != nil {
		return false, err
	}
	_, err = fmt.Fprintf(out, "\n%s", notes)
	return complete, err
}

// load says how busy the machine is before anything is measured, where the system tells.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	minute, _, _ := strings.Cut(string(text), " ")
	return ", load " + minute + " before"
}
