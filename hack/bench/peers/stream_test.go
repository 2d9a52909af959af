package peers

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// The kinds of processes beside those of movers: one that writes a dump, one that reads it.
const (
	dumping = "dump"
	loading = "load"
)

// envBytes is how much a dump holds.
const envBytes = "CAIRN_BENCH_STREAM_BYTES"

var streamBytes = number(envBytes, 2_000_000_000)

// rowSize of a dump; rowsAtOnce are written at once.
const (
	rowSize    = 128
	rowsAtOnce = 8 << 10
)

// writeDump writes rows as a dump of a table of PostgreSQL has them, of which no two are alike, as fast as it can:
// whatever reads it is not to wait for it.
func writeDump(w io.Writer, size int) error {
	const words = "\tDoe, Jane\tjane.doe@example.com\t2026-01-31 12:34:56.789+00\tactive\t1999.95\t{\"k\": [1, null]}"
	block := make([]byte, rowSize*rowsAtOnce)
	for i := range rowsAtOnce {
		row := block[i*rowSize : (i+1)*rowSize]
		for j := range row {
			row[j] = ' '
		}
		copy(row[32:], words)
		row[rowSize-1] = '\n'
	}
	x := uint64(1)
	for size > 0 {
		for i := range rowsAtOnce {
			x = x*6364136223846793005 + 1442695040888963407
			var id [16]byte
			for j := range 8 {
				id[j], id[8+j] = byte(x>>(8*j)), byte((x*0x9e3779b97f4a7c15)>>(8*j))
			}
			hex.Encode(block[i*rowSize:], id[:])
		}
		n, err := w.Write(block[:min(size, len(block))])
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// streamed is a component of this program.
func streamed(kind string) (task.Component, error) {
	self, err := os.Executable()
	return task.Component{Name: "dump", Stream: &v1alpha1.ResolvedStream{
		Command: []string{self}, FileName: "dump.sql",
		Env: []v1alpha1.StreamEnv{{Name: envKind, Value: kind}, {Name: envBytes, Value: strconv.Itoa(streamBytes)}},
	}}, err
}

// stream backs a dump up.
func (c *container) stream(ctx context.Context) (cost, error) {
	component, err := streamed(dumping)
	if err != nil {
		return cost{}, err
	}
	c.runs++
	name := fmt.Sprint("snap-", c.runs)
	return c.do(ctx,
		task.Task{Kind: task.KindBackup, Snapshot: &task.Snapshot{
			Name: name, UID: types.UID(name),
		}, Components: []task.Component{component}})
}

// load restores it.
func (c *container) load(ctx context.Context) (cost, error) {
	component, err := streamed(loading)
	if err != nil {
		return cost{}, err
	}
	component.ID = c.id
	return c.do(ctx, task.Task{
		Kind: task.KindRestore, Snapshot: &task.Snapshot{Name: "s", UID: "u"}, RestoreSession: &task.Object{Name: "r"},
		Components: []task.Component{component},
	})
}

// stream is the same dump in a pipe to kopia's program, as people do it without the mover.
func (k *kopiaTool) stream(ctx context.Context) (cost, error) {
	self, err := os.Executable()
	if err != nil {
		return cost{}, err
	}
	dump := exec.CommandContext(ctx, self)
	dump.Env = append(os.Environ(), envKind+"="+dumping)
	dump.Stderr = os.Stderr
	r, w, err := os.Pipe()
	if err != nil {
		return cost{}, err
	}
	dump.Stdout = w
	began := time.Now()
	if err := errors.Join(dump.Start(), w.Close()); err != nil {
		return cost{}, errors.Join(err, r.Close())
	}
	c, err := k.runFrom(ctx, r, "snapshot", "create", "--no-progress", "--stdin-file=dump.sql",
		filepath.Join(k.dir, "dump"))
	err = errors.Join(err, r.Close(), dump.Wait())
	c.wall = time.Since(began)
	c.cpu += dump.ProcessState.UserTime() + dump.ProcessState.SystemTime() // the mover's includes that of its child
	return c, err
}

// BenchmarkStream backs the same dump up with the mover and through a pipe to kopia, in turns. It reports the medians.
func BenchmarkStream(b *testing.B) {
	kopia := build(b, "kopia")
	for range b.N {
		spent := map[string][]cost{}
		order := []string{"mover", "kopia"}
		for round := range min(rounds, 3) {
			dir := filepath.Join(b.TempDir(), fmt.Sprint("round", round))
			c, k := newContainer(b, filepath.Join(dir, "mover"), nil),
				&kopiaTool{bin: kopia, dir: filepath.Join(dir, "kopia")}
			must(b, errors.Join(c.init(b.Context()), k.init(b.Context())))
			do := map[string]func(context.Context) (cost, error){
				"mover": c.stream, "kopia": k.stream, "load-mover": c.load,
			}
			for _, name := range append(order, "load-mover") {
				one, err := do[name](b.Context())
				if err != nil {
					b.Fatalf("%s: %v", name, err)
				}
				spent[name] = append(spent[name], one)
			}
			must(b, os.RemoveAll(dir))
			order = []string{order[1], order[0]}
		}
		for what, costs := range spent {
			b.ReportMetric(median(costs, func(c cost) float64 { return float64(c.wall) }), what+"-ns")
			b.ReportMetric(median(costs, func(c cost) float64 { return float64(c.cpu) }), what+"-cpu-ns")
			b.ReportMetric(median(costs, func(c cost) float64 { return float64(c.peak) }), what+"-peak-B")
		}
		b.ReportMetric(float64(streamBytes), "bytes")
	}
}
