package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

var update = flag.Bool("update", false, "write the golden files")

func captured(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRead reads what a run on two cores printed.
func TestRead(t *testing.T) {
	g := NewWithT(t)
	var r results
	g.Expect(r.read(captured(t, "gitstore.txt"), 2)).To(Succeed())
	g.Expect(r.processor()).To(Equal("AMD EPYC"))
	g.Expect(r.byName).To(HaveLen(8))
	g.Expect(r.byName).To(HaveKeyWithValue("BenchmarkCommit/present=100000/records=100", result{
		"ns/op": 219007432, "reads/op": 14.96, "requests/op": 0, "writes/op": 315, "B/op": 14723456,
		"allocs/op": 149138,
	}))
}

func TestReadPicksTheFastest(t *testing.T) {
	g := NewWithT(t)
	var r results
	g.Expect(r.read("BenchmarkA 1 30 ns/op 3 reads/op\nBenchmarkA 1 10 ns/op 1 reads/op\nBenchmarkA 1 20 ns/op 2 "+
		"reads/op\n", 1)).To(Succeed())
	g.Expect(r.byName).To(Equal(map[string]result{"BenchmarkA": {"ns/op": 10, "reads/op": 1}}))
}

func TestReadLines(t *testing.T) {
	tests := map[string]struct {
		text  string
		cpus  int
		want  map[string]result
		fails string
	}{
		"a number at the end of the name stays with one processor": {
			text: "BenchmarkA/n-2 5 1 ns/op", cpus: 1, want: map[string]result{"BenchmarkA/n-2": {"ns/op": 1}},
		},
		"the number of processors is taken off": {
			text: "BenchmarkA/n-2-8 5 1 ns/op", cpus: 8, want: map[string]result{"BenchmarkA/n-2": {"ns/op": 1}},
		},
		"log lines are passed over": {
			text: "I1120 x\nBenchmarkA\n--- BENCH: BenchmarkA\nBenchmarkA log 3 words x\nBenchmarkA 5 1.5e3 ns/op",
			cpus: 1, want: map[string]result{"BenchmarkA": {"ns/op": 1500}},
		},
		"a skipped benchmark gives none": {
			text: "BenchmarkA\n--- SKIP: BenchmarkA\nPASS\nok x 1s", cpus: 1, fails: "no result",
		},
		"nothing at all": {cpus: 1, fails: "no result"},
		"a metric that is no number": {
			text: "BenchmarkA 5 1 ns/op x reads/op", cpus: 1, fails: "read metric reads/op of BenchmarkA",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var r results
			err := r.read(tt.text, tt.cpus)
			if tt.fails != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tt.fails)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.byName).To(Equal(tt.want))
		})
	}
}

// TestTable is the whole way from the captured output to the table. What was not captured is said to be missing.
func TestTable(t *testing.T) {
	g := NewWithT(t)
	var r results
	g.Expect(r.read(captured(t, "gitstore.txt"), 2)).To(Succeed())
	g.Expect(r.read("BenchmarkExpand 62 24252281 ns/op 9999.4 targets/s\nBenchmarkSync1000/first 1 2e9 ns/op 5 "+
		"objects/s 4e9 ours-ns 8e9 theirs-ns 5e7 ours-peak-B 2e8 theirs-peak-B 1e8 ours-alloc-B 6e8 "+
		"theirs-alloc-B\nBenchmarkSlotToSucceeded 1 9e11 ns/op 8 k8up-s 4 cronjob-s 9 "+
		"controller-s\nBenchmarkVolumeSnapshots20 1 9e11 ns/op 10 kubectl-s 12.5 session-s\nBenchmarkMemory1000 1 "+
		"9e10 ns/op 1.5e8 peak-B", 1)).To(Succeed())
	var rows []row
	for _, s := range suites(2) {
		for _, fill := range s.rows {
			rows = append(rows, fill(r))
		}
	}
	var out bytes.Buffer
	g.Expect(writeTable(&out, rows)).To(Succeed())
	path := filepath.Join("testdata", "table.txt")
	if *update {
		g.Expect(os.WriteFile(path, out.Bytes(), 0o644)).To(Succeed())
	}
	g.Expect(out.String()).To(Equal(captured(t, "table.txt")), "go test ./hack/bench -update")
}

// TestBigSuitesAreAskedFor measures nothing: what is chosen by its name is no benchmark, and what is big is left out.
func TestBigSuitesAreAskedFor(t *testing.T) {
	g := NewWithT(t)
	big := 0
	for _, s := range suites(2) {
		if s.big != "" {
			big++
			g.Expect(s.leftOut("")).To(BeTrue())
			g.Expect(s.leftOut("Memory")).To(BeFalse())
		} else {
			g.Expect(s.leftOut("")).To(BeFalse())
		}
		g.Expect(s.name()).To(And(ContainSubstring(s.bench), ContainSubstring(s.pkg)))
	}
	g.Expect(big).To(Equal(3))
}

func TestNumbers(t *testing.T) {
	g := NewWithT(t)
	for in, want := range map[float64]string{
		0: "0", 0.5: "0.5", 9: "9", 14.96: "15", 999: "999", 1000: "1,000", 1234567.8: "1,234,568",
	} {
		g.Expect(thousands(in)).To(Equal(want))
	}
	for in, want := range map[float64]string{950: "0.95 µs", 24252281: "24.3 ms", 7.96e9: "7.96 s"} {
		g.Expect(duration(in)).To(Equal(want))
	}
	for in, want := range map[float64]string{2048: "2 KiB", 3 << 19: "1.5 MiB"} {
		g.Expect(size(in)).To(Equal(want))
	}
}

// TestAFailingBenchmarkIsSaid runs the go command for real.
func TestAFailingBenchmarkIsSaid(t *testing.T) {
	g := NewWithT(t)
	s := suite{pkg: "./no/such/package", bench: "^BenchmarkA$", benchtime: "1x", count: 1, cpus: 1}
	_, err := s.run(t.Context())
	g.Expect(err).To(MatchError(And(ContainSubstring("go test -v -run ^$ -bench ^BenchmarkA$"),
		ContainSubstring("no/such/package"))))
}

func TestTail(t *testing.T) {
	NewWithT(t).Expect(tail(strings.Repeat("a\n", 5)+"b\nc\n", 2)).To(Equal("b\nc"))
}

func TestANameOfNoBenchmarkIsSaid(t *testing.T) {
	_, err := measure(t.Context(), "Nonsense", io.Discard, io.Discard)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("no benchmark has a name that -only Nonsense matches")))
}
