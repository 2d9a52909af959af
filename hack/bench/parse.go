package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// result holds the metrics of one benchmark by unit, such as "ns/op".
type result map[string]float64

// results by the benchmark's name, without the number of processors.
type results struct {
	byName map[string]result
	// cpu is the name of the processor.
	cpu string
}

var errNoResult = errors.New("no result in the output of go test")

// read takes over what "go test -v -bench" printed. Of several results of one benchmark the one with the least ns/op
// counts, and of its other metrics those of the same run.
func (r *results) read(text string, cpus int) error {
	found := false
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if cpu, is := strings.CutPrefix(line, "cpu: "); is {
			r.cpu = strings.TrimSpace(cpu)
			continue
		}
		name, metrics, is, err := parseLine(line, cpus)
		if err != nil {
			return err
		}
		if !is {
			continue
		}
		found = true
		if r.byName == nil {
			r.byName = map[string]result{}
		}
		if old, again := r.byName[name]; !again || metrics["ns/op"] < old["ns/op"] {
			r.byName[name] = metrics
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the output of go test: %w", err)
	}
	if !found {
		return errNoResult
	}
	return nil
}

// parseLine reads "BenchmarkName-2  100  12.5 ns/op  3 reads/op". Other lines are none of ours.
func parseLine(line string, cpus int) (name string, metrics result, is bool, err error) {
	fields := strings.Fields(line)
	if len(fields) < 4 || len(fields)%2 != 0 || !strings.HasPrefix(fields[0], "Benchmark") {
		return "", nil, false, nil
	}
	if _, err := strconv.Atoi(fields[1]); err != nil {
		return "", nil, false, nil
	}
	metrics = result{}
	for i := 2; i < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return "", nil, false, fmt.Errorf("read metric %s of %s: %w", fields[i+1], fields[0], err)
		}
		metrics[fields[i+1]] = value
	}
	name = fields[0]
	if cpus > 1 { // with one there is no suffix, and a number at the end is part of the name
		name = strings.TrimSuffix(name, "-"+strconv.Itoa(cpus))
	}
	return name, metrics, true, nil
}

// get returns one metric of a benchmark.
func (r *results) get(name, unit string) (float64, error) {
	metrics, ok := r.byName[name]
	if !ok {
		return 0, fmt.Errorf("%s gave no result", name)
	}
	value, ok := metrics[unit]
	if !ok {
		return 0, fmt.Errorf("%s has no %s: it has %s", name, unit,
			strings.Join(slices.Sorted(maps.Keys(metrics)), ", "))
	}
	return value, nil
}

func (r *results) processor() string {
	if r.cpu == "" {
		return "processor unknown"
	}
	return r.cpu
}
