package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// event is a line of "go test -json".
type event struct {
	Time    time.Time
	Action  string
	Package string
	Test    string
	Output  string
}

// test is what the log says of a test, or of a package where the name is empty.
type test struct {
	pkg, name string
	output    strings.Builder
	failed    bool
	parallel  bool          // it waited for its turn
	begun     time.Time     // when it last began to run; zero while it waits or has ended
	took      time.Duration // while it ran
	partsFrom time.Time     // when the first of its parallel parts was there; zero where it has none
	partsTo   time.Time     // when the last of them ended
}

// log is what "go test -json" has said.
type log struct {
	tests       map[[2]string]*test
	order       []*test
	first, last time.Time
}

func newLog() *log { return &log{tests: map[[2]string]*test{}} }

func (l *log) test(pkg, name string) *test {
	key := [2]string{pkg, name}
	if l.tests[key] == nil {
		l.tests[key] = &test{pkg: pkg, name: name}
		l.order = append(l.order, l.tests[key])
	}
	return l.tests[key]
}

// add takes a line and returns what to print of it.
func (l *log) add(line []byte) string {
	var e event
	if err := json.Unmarshal(line, &e); err != nil || e.Action == "" {
		return string(line)
	}
	if !e.Time.IsZero() {
		if l.first.IsZero() {
			l.first = e.Time
		}
		l.last = e.Time
	}
	if e.Package == "" { // what the compiler says
		return e.Output
	}
	t := l.test(e.Package, e.Test)
	switch e.Action {
	case "run":
		t.begun = e.Time
	case "cont":
		t.begun, t.parallel = e.Time, true
	case "pause":
		t.stop(e.Time)
		for name := parent(e.Test); name != ""; name = parent(name) {
			if whole := l.test(e.Package, name); whole.partsFrom.IsZero() {
				whole.partsFrom = e.Time
			}
		}
	case "pass", "fail", "skip":
		t.stop(e.Time)
		t.failed = e.Action == "fail"
		for name := parent(e.Test); name != "" && t.parallel; name = parent(name) {
			l.test(e.Package, name).partsTo = e.Time
		}
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") && !strings.HasPrefix(strings.TrimLeft(e.Output, " "), "--- ") {
			t.output.WriteString(e.Output)
		}
	}
	return e.Output
}

func (t *test) stop(at time.Time) {
	if !t.begun.IsZero() {
		t.took += at.Sub(t.begun)
	}
	t.begun = time.Time{}
}

// parent is the name of the test that a subtest belongs to, empty for the others.
func parent(name string) string {
	if i := strings.LastIndex(name, "/"); i >= 0 {
		return name[:i]
	}
	return ""
}

// failures repeats what the failed tests said, and those that had not ended.
func (l *log) failures() string {
	const most = 6000 // bytes of each
	var out strings.Builder
	for _, t := range l.order {
		if !t.failed && t.begun.IsZero() {
			continue
		}
		said := t.output.String()
		if strings.TrimSpace(said) == "" {
			continue
		}
		if len(said) > most {
			said = "(...)" + said[len(said)-most:]
		}
		fmt.Fprintf(&out, "--- FAIL: %s %s\n%s", t.pkg, t.name, said)
	}
	if out.Len() == 0 {
		return ""
	}
	return "### what the failed tests said\n" + out.String()
}

// table says how many seconds each scenario took, slowest first.
func (l *log) table() string {
	type row struct {
		took time.Duration
		text string
	}
	var rows []row
	var sum time.Duration
	for _, t := range l.order {
		if t.name == "" || (parent(t.name) != "" && !t.parallel) {
			continue
		}
		t.stop(l.last) // where it was cut off
		r := row{t.took, t.name}
		if !t.partsFrom.IsZero() {
			r = row{t.took - t.partsTo.Sub(t.partsFrom), t.name + ", without its parallel parts"}
		}
		if sum += r.took; r.took < time.Second {
			continue
		}
		if t.failed {
			r.text += ": FAILED"
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b row) int { return int(b.took - a.took) })
	var out strings.Builder
	fmt.Fprintf(&out, "### seconds per scenario: %.0f s in all, %.0f s one after the other\n",
		l.last.Sub(l.first).Seconds(), sum.Seconds())
	for _, r := range rows {
		fmt.Fprintf(&out, "%6.0f s  %s\n", r.took.Seconds(), r.text)
	}
	return out.String()
}
