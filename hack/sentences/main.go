// Command sentences draws sentences at random from the repository, so that two people can judge the same sample of
// its English.
//
// Half of the sentences come from Go comments, a quarter from messages and a quarter from Markdown. Messages are the
// string literals of four words or more in the Go code of the product, without its tests. Generated files and test
// data are left out. Equal files and an equal seed give equal sentences. With -rev the files are those of a Git
// revision, so that one version of this command draws the sample before and the sample after a change.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sort"
)

// sentence is a candidate of the draw.
type sentence struct {
	file string
	line int
	text string
}

// shares are the parts of a sample, in the order of the output.
var shares = []struct {
	name string
	part int
	of   func(file string, content []byte) []sentence
}{
	{"comments", 2, comments},
	{"messages", 1, messages},
	{"docs", 1, prose},
}

func main() {
	seed := flag.Uint64("seed", 1, "seed of the draw")
	n := flag.Int("n", 40, "number of sentences")
	rev := flag.String("rev", "", "Git revision whose files are read; the working copy where it is empty")
	flag.Parse()
	if err := run(os.Stdout, *seed, *n, *rev); err != nil {
		fmt.Fprintln(os.Stderr, "sentences:", err)
		os.Exit(1)
	}
}

// run reads the files and prints the sample.
func run(out io.Writer, seed uint64, n int, rev string) error {
	all, err := files(rev)
	if err != nil {
		return err
	}
	return draw(out, all, seed, n)
}

// draw prints n sentences of the files, each kind of text by its share. The last kind fills up what rounding leaves.
func draw(out io.Writer, files map[string][]byte, seed uint64, n int) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	parts, left := 0, n
	for _, share := range shares {
		parts += share.part
	}
	w := bufio.NewWriter(out)
	for i, share := range shares {
		var candidates []sentence
		for _, name := range names {
			candidates = append(candidates, share.of(name, files[name])...)
		}
		take := n * share.part / parts
		if i == len(shares)-1 {
			take = left
		}
		take = min(take, len(candidates))
		left -= take
		// A source of its own for each kind: a change of the messages does not change which comments are drawn.
		chosen := rand.New(rand.NewPCG(seed, uint64(i))).Perm(len(candidates))[:take]
		sort.Ints(chosen)
		fmt.Fprintf(w, "## %s: %d of %d\n", share.name, take, len(candidates))
		for _, c := range chosen {
			fmt.Fprintf(w, "%s:%d: %s\n", candidates[c].file, candidates[c].line, candidates[c].text)
		}
	}
	return w.Flush()
}
