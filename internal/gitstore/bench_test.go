package gitstore

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// benchSizes are numbers of existing records. GITSTORE_BENCH_SIZES, such as 1000,100000,1000000, changes them.
func benchSizes(b *testing.B) []int {
	b.Helper()
	text := os.Getenv("GITSTORE_BENCH_SIZES")
	if text == "" {
		return []int{1_000, 100_000}
	}
	var out []int
	for _, f := range strings.Split(text, ",") {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// recordPath is the layout of the records branch, for an invoker with one record per day: one folder per month.
func recordPath(invoker, day int, uid string) string {
	d := time.Date(2025, 1, 1, 2, 0, 0, 0, time.UTC).AddDate(0, 0, day)
	return fmt.Sprintf("%s/ns-%d/backupconfiguration.app-%d/%s/app-%d-nightly-%d-%s.yaml",
		records, invoker/10, invoker, d.Format("2006-01"), invoker, d.Unix(), uid)
}

// recordText has the size of a record. No two are equal.
func recordText(i int) []byte { return fmt.Appendf(nil, "%0900d\n", i) }

// generate fills the branch with n records in the given number of commits, covering a year for each invoker.
func generate(r *remote, n, commits int) {
	r.t.Helper()
	in, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 1<<20)
		for c := range commits {
			fmt.Fprintf(out, "commit refs/heads/%s\ncommitter t <t@t> %d +0000\ndata 1\nx\n", branch, 1750000000+c)
			for i := c * n / commits; i < (c+1)*n/commits; i++ {
				text := recordText(i)
				fmt.Fprintf(out, "M 100644 inline %s\ndata %d\n%s\n", recordPath(i/365, i%365, fmt.Sprintf("%08x", i)),
					len(text),
					text)
			}
		}
		w.CloseWithError(out.Flush())
	}()
	runInput(r.t, r.repo, in, "git", "fast-import", "--quiet")
}

// benchRemote has n records in as many commits as a Ledger would have made of them at a hundred per commit, packed as
// a forge keeps a repository.
func benchRemote(b *testing.B, n int) *remote {
	b.Helper()
	r := newRemote(b, lazyAll)
	start := time.Now()
	generate(r, n, max(1, n/100))
	r.git("repack", "-adbq")
	r.git("commit-graph", "write", "--reachable")
	r.git("pack-refs", "--all")
	b.Logf("%d records made in %s", n, time.Since(start).Round(time.Second))
	return r
}

// newRecords returns k records of one more day, one for each of k invokers.
func newRecords(k, invokers, i int) []Edit {
	out := make([]Edit, 0, k)
	for j := range k {
		out = append(out, Put(recordPath((i*k+j)%invokers, 364, fmt.Sprintf("n%d-%d", i, j)),
			recordText(1_000_000_000+i*k+j)))
	}
	return out
}

func report(b *testing.B, before, after Stats) {
	n := float64(b.N)
	b.ReportMetric(float64(after.Reads-before.Reads)/n, "reads/op")
	b.ReportMetric(float64(after.Writes-before.Writes)/n, "writes/op")
	b.ReportMetric(float64(after.Requests-before.Requests)/n, "requests/op")
}

// warm returns a store that has the directories of the invokers that are written to.
func warm(b *testing.B, r *remote, invokers int) *Store {
	b.Helper()
	s := r.open(b)
	g := NewWithT(b)
	g.Expect(s.Fetch(b.Context())).To(Succeed())
	_, err := s.Commit(b.Context(), newRecords(invokers, invokers, int(time.Now().UnixNano()%1e9)), Meta{When: when})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = s.Push(b.Context())
	g.Expect(err).NotTo(HaveOccurred())
	return s
}

// BenchmarkCommit measures a commit of 1 and of 100 records, without a push.
func BenchmarkCommit(b *testing.B) {
	for _, n := range benchSizes(b) {
		r := benchRemote(b, n)
		invokers := min((n+364)/365, 100)
		for _, k := range []int{1, 100} {
			b.Run(fmt.Sprintf("present=%d/records=%d", n, k), func(b *testing.B) {
				s := warm(b, r, invokers)
				before := s.Stats()
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					if _, err := s.Commit(b.Context(), newRecords(k, invokers, i), Meta{When: when}); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				report(b, before, s.Stats())
			})
		}
	}
}

// BenchmarkPush measures the push of a commit of 1 and of 100 records, including the server's work over loopback HTTP
// and excluding the commit.
func BenchmarkPush(b *testing.B) {
	for _, n := range benchSizes(b) {
		r := benchRemote(b, n)
		invokers := min((n+364)/365, 100)
		for _, k := range []int{1, 100} {
			b.Run(fmt.Sprintf("present=%d/records=%d", n, k), func(b *testing.B) {
				s := warm(b, r, invokers)
				var total Stats
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					b.StopTimer()
					if _, err := s.Commit(b.Context(), newRecords(k, invokers, i+int(time.Now().UnixNano()%1e9)),
						Meta{When: when}); err != nil {
						b.Fatal(err)
					}
					before := s.Stats()
					b.StartTimer()
					if o, err := s.Push(b.Context()); err != nil || o != accepted {
						b.Fatal(o, err)
					}
					after := s.Stats()
					total.Reads += after.Reads - before.Reads
					total.Writes += after.Writes - before.Writes
					total.Requests += after.Requests - before.Requests
				}
				report(b, Stats{}, total)
			})
		}
	}
}

// BenchmarkFirstFetch measures the first fetch of a manager that lost its directory.
func BenchmarkFirstFetch(b *testing.B) {
	for _, n := range benchSizes(b) {
		r := benchRemote(b, n)
		for _, byHash := range []bool{true, false} {
			b.Run(fmt.Sprintf("present=%d/objects-by-hash=%t", n, byHash), func(b *testing.B) {
				r.git("config", "uploadpack.allowAnySHA1InWant", fmt.Sprint(byHash))
				b.ReportAllocs()
				var requests int
				for range b.N {
					s := r.open(b)
					if err := s.Fetch(b.Context()); err != nil {
						b.Fatal(err)
					}
					requests += s.Stats().Requests
				}
				b.ReportMetric(float64(requests)/float64(b.N), "requests/op")
			})
		}
	}
}
